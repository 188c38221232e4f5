# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Everything that bench/lab and bench/gates/run share.
require_relative 'registry'
require_relative 'files'
require_relative 'peer'
require_relative 'certs'
require_relative 'resource'
require_relative 'server'
require_relative 'wrk'
require_relative 'h2load'
require_relative 'clients'
require_relative 'row'
require_relative 'runner'
require_relative 'machine'
require_relative 'report'
require_relative 'compare'
require_relative 'document'
require_relative 'two_hosts'
require_relative 'gate'

module Lab
  # For programs that start servers: whatever ends us, they end first.
  def self.guard
    # INT too: a shell starts background jobs with it ignored.
    %w[INT TERM HUP].each { |s| trap(s) { Thread.main.raise(Interrupt) } }
    yield
  rescue UsageError => e
    warn "#{$PROGRAM_NAME}: #{e.message}"
    exit 2
  rescue Interrupt
    exit 130
  ensure
    Server.stop_all
  end

  # The CPUs of server and generator, which must differ for a figure to mean anything.
  def self.cpus
    list = Machine.allowed_cpus
    raise UsageError, 'two CPUs are needed, one for the server and one for the load' if list.size < 2

    { server_cpu: list[0], load_cpu: list[1] }
  end
end
