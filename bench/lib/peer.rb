# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'tmpdir'
require 'fileutils'

module Lab
  # Where tools/deps puts gems, those of bench/Gemfile among them: a folder for each version of Ruby.
  module Gems
    def self.folder
      Dir[File.join(ROOT, 'build/bundle/ruby/*')].max || File.join(ROOT, 'build/bundle')
    end

    def self.version(name)
      Dir[File.join(folder, 'gems', "#{name}-*")].map { |d| File.basename(d) }.max
    end
  end

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

    # The program's path, or nil. Names with a slash are under the build folder or among the gems.
    def program(build)
      return executable(Gems.folder, 'bin', binary.delete_prefix('gem/')) if binary.start_with?('gem/')
      return executable(build, binary.delete_prefix('build/')) if binary.start_with?('build/')

      (ENV['PATH'].split(':') + %w[/usr/sbin /usr/local/sbin]).map { |d| File.join(d, binary) }
                                                              .find { |f| File.executable?(f) }
    end

    def ours?
      binary.start_with?('build/')
    end

    def absence
      return "#{binary} is not built (make)" if ours?

      "#{binary.delete_prefix('gem/')} is not installed (make deps-bench)"
    end

    def version(build)
      return Gems.version(binary.delete_prefix('gem/')) if binary.start_with?('gem/')
      return nil unless version_args

      out = IO.popen([program(build), *version_args, err: %i[child out]], &:read)
      out.lines.first&.strip
    rescue SystemCallError
      nil
    end

    private

    def executable(*path)
      file = File.join(*path)
      file if File.executable?(file)
    end
  end

  # Servers of Rack apps all run the same ones: bench/apps/RESOURCE.ru.
  RACK = %i[hello json slow1 waits mixed streams sse].to_h { |r| [r, '/'] }.freeze

  # What the Rails app has: that of the selftests, with what bench/apps/notebook adds.
  RAILS = { rails_page: '/about', rails_rows: '/notes', rails_api: '/api/notes' }.freeze

  # What a peer's command block may use: its port, its program, a folder of its own, what is asked for.
  Site = Struct.new(:port, :program, :dir, :resource, :extra, keyword_init: true) do
    def app
      rails? ? rails_app : File.join(ROOT, "bench/apps/#{resource}.ru")
    end

    # A command that finds the gems of bench/Gemfile and nothing of whoever started us.
    def ruby(*argv)
      gems = Gems.folder
      ['env', '-u', 'BUNDLE_GEMFILE', '-u', 'RUBYOPT', '-u', 'RUBYLIB', "GEM_HOME=#{gems}", "GEM_PATH=#{gems}",
       'RACK_ENV=production', 'RAILS_ENV=production', *(rails? ? bundler : []), *argv]
    end

    def rails?
      RAILS.key?(resource)
    end

    # Of its own for each server: Rails writes into it.
    def rails_app
      %w[selftests/apps/rails bench/apps/notebook].each { |from| FileUtils.cp_r(File.join(ROOT, from, '.'), dir) }
      File.join(dir, 'config.ru')
    end

    def bundler
      ["BUNDLE_GEMFILE=#{ROOT}/bench/apps/notebook/Gemfile", "BUNDLE_PATH=#{ROOT}/build/bundle", 'RUBYOPT=-rbundler/setup']
    end

    def write(name, text)
      File.join(dir, name).tap { |f| File.write(f, text) }
    end
  end
end
