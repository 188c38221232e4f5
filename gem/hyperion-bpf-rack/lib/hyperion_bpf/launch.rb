# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# From the options of a Rack handler to a command line of hyperion-bpf.

require "shellwords"
require "socket"

module HyperionBPF
  class Error < StandardError; end

  # What rackup and Rails ask of a handler.
  #
  # The app that they hand over is built already, in a process that is Ruby's. Ours is a C program that
  # forks its workers before Ruby has threads: it loads the same rackup file by itself, in the place of
  # this process. So the process id, the terminal and a pid file stay what they were.
  module Handler
    def run(_app, **options)
      launch = Launch.new(options)
      $stdout.flush
      $stderr.flush
      exec(launch.environment, [launch.program, "hyperion-bpf"], *launch.arguments)
    rescue Error => e
      abort "hyperion: #{e.message}"
    end

    def valid_options
      {
        "Host=HOST" => "an address, a name or unix:///PATH (default: localhost)",
        "Port=PORT" => "port (default: 9292)",
        "Threads=N" => "Ruby threads per worker; of MIN:MAX the second (default: 5)",
        "Workers=N" => "worker processes (default: as many as CPUs)",
        "Config=FILE" => "settings in Ruby (default: config/hyperion.rb)",
        "Arguments=ARGS" => "more for the command line, see hyperion-bpf --help",
      }
    end
  end

  class Launch
    # Of a checkout, where this is part of it.
    BESIDE = File.expand_path("../../../../build/hyperion-bpf", __dir__)
    RACKUP_PORT = 9292

    # @options: as rackup and Rails::Server hand them over.
    def initialize(options)
      @options = options
    end

    def program
      named = ENV["HYPERION_BPF"]
      return named if named && runs?(named)
      raise Error, "HYPERION_BPF=#{named} is no program" if named

      on_path = ENV.fetch("PATH", "").split(File::PATH_SEPARATOR).map { |dir| File.join(dir, "hyperion-bpf") }
      [*on_path, BESIDE].find { |path| runs?(path) } or
        raise Error, "the program hyperion-bpf is not on PATH: install it (make install) or name it by HYPERION_BPF"
    end

    def arguments
      [*binds_given.flat_map { |uri| ["--bind", uri] },
       *option("--environment", :environment),
       *option("--config", :Config),
       *option("--workers", :Workers),
       *threads,
       *option("--pidfile", :pid),
       *(@options[:quiet] ? ["--no-log-requests"] : []),
       *Shellwords.split(@options[:Arguments].to_s),
       "--rackup", rackup]
    end

    # What rackup's options for Ruby mean is said to the Ruby in the program by its environment.
    def environment
      { "HYPERION_DEFAULT_BIND" => (uris.join(",") unless given?),
        "HYPERION_RAILS_STDOUT" => ("1" if @options[:log_stdout]),
        "RUBYLIB" => joined(":", *@options[:include], ENV["RUBYLIB"]),
        "RUBYOPT" => joined(" ", ("-w" if @options[:warn]), ("-d" if @options[:debug]),
                            *Array(@options[:require]).map { |name| "-r#{name}" }, ENV["RUBYOPT"]) }
    end

    private

    def runs?(path)
      File.file?(path) && File.executable?(path)
    end

    def option(flag, name)
      @options[name] ? [flag, @options[name].to_s] : []
    end

    def joined(mark, *words)
      words.compact.reject(&:empty?).then { |all| all.join(mark) unless all.empty? }
    end

    # Threads=5:5 as with puma. A pool of ours does not grow and shrink.
    def threads
      value = @options[:Threads] or return []
      number = value.to_s[/\A(?:\d+:)?(\d+)\z/, 1] or raise Error, "Threads=#{value}: N or MIN:MAX"
      ["--threads", number]
    end

    # The program takes a file, no object and no line of Ruby.
    def rackup
      file = @options[:config] unless @options[:builder] || @options[:app]
      raise Error, "the program loads the app by itself: name a rackup file" unless file
      raise Error, "#{file}: no such rackup file" unless File.file?(file)

      File.expand_path(file)
    end

    # Only what was asked for goes before the config file; the rest are rackup's or Rails' defaults.
    def given?
      asked = @options[:user_supplied_options]
      return asked.include?(:Host) || asked.include?(:Port) if asked

      @options[:Port].to_i != RACKUP_PORT || @options[:Host] != default_host
    end

    def default_host
      ENV.fetch("RACK_ENV", "development") == "development" ? "localhost" : "0.0.0.0"
    end

    def binds_given
      given? ? uris : []
    end

    def uris
      host = @options[:Host].to_s
      return [host] if host.include?("://")

      addresses(host.empty? ? "0.0.0.0" : host.delete("[]")).map do |address|
        "tcp://#{address.include?(":") ? "[#{address}]" : address}:#{@options[:Port] || RACKUP_PORT}"
      end
    end

    # A name may have several, and not all of them need be ours: localhost without IPv6.
    def addresses(host)
      Addrinfo.getaddrinfo(host, nil, nil, :STREAM).map(&:ip_address).uniq.select { |address| ours?(address) }.then do |all|
        all.empty? ? raise(Error, "#{host} is no address of this machine") : all
      end
    rescue SocketError => e
      raise Error, "#{host}: #{e.message}"
    end

    def ours?(address)
      TCPServer.new(address, 0).close
      true
    rescue SystemCallError
      false
    end
  end
end
