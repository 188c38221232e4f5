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
    NEEDS = { tls: 'TLS', h2: 'HTTP/2', websocket: 'WebSocket of its own', workers: 'several workers' }.freeze

    attr_reader :name, :paths, :missing, :languages

    # variant: not in --quick. tries: is started to see whether it can do what it is told.
    setting :tries, :title, :package, :binary, :version_args, :variant

    def initialize(name)
      @name = name
      @title = name.to_s
      @paths = {}
      @missing = {}
      @languages = []
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

    # speaks :tls, :h2, :websocket, :workers (it can run several): a case that needs another is not tried.
    def speaks(*list)
      @languages.concat(list)
    end

    # The block gets a Site and returns the command as an array.
    def command(&block)
      block ? @command = block : @command
    end

    def concerns?(kase)
      @paths.key?(kase.resource) || @missing.key?(kase.name) || @missing.key?(kase.resource)
    end

    # Why this peer cannot run the case, or nil.
    def reason_against(kase)
      @missing[kase.name] || @missing[kase.resource] || kase.needs.filter_map { |n| @missing[n] }.first ||
        (@paths.key?(kase.resource) ? nil : "offers no #{kase.resource}") ||
        (kase.needs - @languages).first&.then { |n| "has no #{NEEDS.fetch(n)}" }
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
      return Gems.version(package || binary.delete_prefix('gem/')) if binary.start_with?('gem/')
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
  RACK = { **%i[hello json slow1 waits mixed streams sse upload pg websocket stuck hung].to_h { |r| [r, '/'] },
           held: '/files/file1k.txt' }.freeze

  # What the Rails app has: that of the selftests, with what bench/apps/notebook adds.
  RAILS = { rails_page: '/about', rails_rows: '/notes', rails_api: '/api/notes' }.freeze

  # What a peer's command block may use: where to listen, its program, a folder of its own, what is asked for, its certificate
  # if it is to speak TLS (cert, key), and of how many workers.
  Site = Struct.new(:host, :port, :program, :dir, :resource, :extra, :tls, :workers, keyword_init: true) do
    def address
      "#{host}:#{port}"
    end

    def url
      "#{tls ? 'https' : 'http'}://#{address}"
    end

    # Files are an app too, for servers that have nothing else for them.
    def app
      return rails_app if rails?

      File.join(ROOT, "bench/apps/#{Files::PATHS.key?(resource) ? 'files' : resource}.ru")
    end

    # A command that finds the gems of bench/Gemfile and nothing of whoever started us.
    def ruby(*argv)
      gems = Gems.folder
      ['env', '-u', 'BUNDLE_GEMFILE', '-u', 'RUBYOPT', '-u', 'RUBYLIB', "GEM_HOME=#{gems}", "GEM_PATH=#{gems}",
       'RACK_ENV=production', 'RAILS_ENV=production', *Resource.env(resource), *(rails? ? bundler : []), *argv]
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
