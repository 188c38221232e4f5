# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'tmpdir'
require 'fileutils'

module Lab
  # A server that can be measured: where its program is, how it is started on a port, and which
  # resources it offers at which path.
  class Peer
    extend Settings
    attr_reader :name, :paths, :missing

    setting :title, :package, :binary, :version_args

    def initialize(name)
      @name = name
      @title = name.to_s
      @paths = {}
      @missing = {}
      @version_args = nil
    end

    # offers constant: '/'
    def offers(map)
      @paths.merge!(map)
    end

    # lacks newconn: 'why' (a resource or a single case)
    def lacks(map)
      @missing.merge!(map)
    end

    # The block gets a Site and returns the command as an array.
    def command(&block)
      block ? @command = block : @command
    end

    # Why this peer cannot run the case, or nil.
    def reason_against(kase)
      @missing[kase.name] || @missing[kase.resource] ||
        (@paths.key?(kase.resource) ? nil : "offers no #{kase.resource}")
    end

    # The program's path, or nil. Names with a slash are under the build folder.
    def program(build)
      return File.executable?(p = File.join(build, binary.delete_prefix('build/'))) ? p : nil if binary.start_with?('build/')

      (ENV['PATH'].split(':') + %w[/usr/sbin /usr/local/sbin]).map { |d| File.join(d, binary) }
                                                              .find { |f| File.executable?(f) }
    end

    def absence
      binary.start_with?('build/') ? "#{binary} is not built (make)" : "#{binary} is not installed (package #{package})"
    end

    def version(build)
      return nil unless version_args

      out = IO.popen([program(build), *version_args, err: %i[child out]], &:read)
      out.lines.first&.strip
    rescue SystemCallError
      nil
    end
  end

  # What a peer's command block may use: its port, its program, a folder of its own.
  Site = Struct.new(:port, :program, :dir, :extra, keyword_init: true) do
    def write(name, text)
      File.join(dir, name).tap { |f| File.write(f, text) }
    end
  end
end
