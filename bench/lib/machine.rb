# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'etc'

module Lab
  # The facts of this machine that a figure depends on.
  module Machine
    class << self
      def facts(build)
        { 'kernel' => Etc.uname[:release], 'cpu' => cpuinfo, 'cpus' => allowed_cpus,
          'congestion_control' => sysctl('net/ipv4/tcp_congestion_control'),
          'mitigations' => File.read('/proc/cmdline')[/mitigations=\S+/],
          'hypervisor' => File.read('/proc/cpuinfo').include?(' hypervisor'),
          'loadavg' => File.read('/proc/loadavg').split.first.to_f,
          'ruby' => RUBY_VERSION, 'wrk' => Wrk.version, 'commit' => commit,
          'io_uring_disabled' => sysctl('kernel/io_uring_disabled'), 'build' => File.expand_path(build) }
      end

      # CPUs we may run on: the first one is the server's, the second one the generator's.
      def allowed_cpus
        list = File.read('/proc/self/status')[/^Cpus_allowed_list:\s+(.*)$/, 1]
        list.split(',').flat_map { |r| r.include?('-') ? Range.new(*r.split('-').map(&:to_i)).to_a : [r.to_i] }
      end

      private

      def cpuinfo
        File.read('/proc/cpuinfo')[/^(?:model name|CPU part)\s*:\s*(.*)$/, 1]
      end

      def sysctl(path)
        File.read("/proc/sys/#{path}").strip
      rescue SystemCallError
        nil
      end

      def commit
        out = IO.popen(['git', '-C', ROOT, 'describe', '--always', '--dirty', err: File::NULL], &:read).strip
        out.empty? ? nil : out
      rescue SystemCallError
        nil
      end
    end
  end
end
