# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

module Lab
  # One promise and its bound. Either limits on the rows of one interleaved run (`ratio`, `rate`,
  # `cost`; any one of them is enough), or a `check` of its own that returns Findings.
  class Gate
    extend Settings
    attr_reader :name, :limits

    # text: what was found, with its bound; ok: whether it holds.
    Finding = Struct.new(:text, :ok)
    Limit = Struct.new(:peer, :other, :key, :at_most, :at_least)

    COST = 'cpu_us_per_request'
    RATE = 'requests_per_second'

    setting :says, :on

    def initialize(name)
      @name = name
      @limits = []
    end

    # CPU per request of `peer` over that of `other`, median of the rounds' own ratios.
    def ratio(peer, other, at_most:)
      @limits << Limit.new(peer, other, COST, at_most)
    end

    # Requests per second of `peer` over those of `other`.
    def rate(peer, other, at_least:)
      @limits << Limit.new(peer, other, RATE, nil, at_least)
    end

    # CPU microseconds per request of `peer`.
    def cost(peer, at_most:)
      @limits << Limit.new(peer, nil, COST, at_most)
    end

    def check(&block)
      block ? @check = block : @check
    end

    def peers
      @limits.flat_map { |l| [l.peer, l.other] }.compact.uniq
    end

    def findings(rows)
      @limits.map do |l|
        mine, other = [l.peer, l.other].map { |n| n && rows.find { |r| r.peer.name == n && r.kase.name == on } }
        value = other ? mine.ratio_to(other, l.key) : mine.median(l.key)
        unit = other ? "x #{l.other}" : 'us'
        bound = l.at_most ? "at most #{l.at_most}" : "at least #{l.at_least}"
        Finding.new(format('%s %.2f %s%s (%s)', l.peer, value, unit, l.key == RATE ? ' in requests/s' : '', bound),
                    l.at_most ? value <= l.at_most : value >= l.at_least)
      end
    end
  end

  # What a check may use: the server under test and the client that counts per connection.
  class GateKit
    attr_reader :load_cpu

    def initialize(build:, server_cpu:, load_cpu:)
      @build = build
      @server_cpu = server_cpu
      @load_cpu = load_cpu
    end

    # kase: what is asked for first, and whether the answer is right; resource: which app runs.
    def with_server(name = :hyperion, extra: [], kase: :constant, resource: Lab.cases.fetch(kase).resource,
                    stdout: nil)
      server = Server.new(Lab.peers.fetch(name), build: @build, cpu: @server_cpu, resource: resource, extra: extra,
                                                   stdout: stdout)
      server.check(Lab.cases.fetch(kase))
      yield server
    ensure
      server&.stop
    end

    # Runs build/bench/load. With a block (--hold): yields once the connections are held and returns
    # [the block's value, what load said then, what it said at the end].
    def load(server, *args, path: nil)
      path ||= server.peer.paths.fetch(:constant)
      argv = ['taskset', '-c', @load_cpu.to_s, File.join(@build, 'bench/load'), '--port', server.port.to_s,
              '--path', path, *args.map(&:to_s)]
      IO.popen(argv, 'r+') do |io|
        return JSON.parse(first_line(io, 120)) unless block_given?

        held = JSON.parse(first_line(io, 120))
        value = yield held
        io.close_write
        return [value, held, JSON.parse(first_line(io, 30))]
      end
    end

    # Runs build/bench/arrivals: new connections at a rate, whatever became of those before.
    def arrivals(server, *args)
      argv = ['taskset', '-c', @load_cpu.to_s, File.join(@build, 'bench/arrivals'), '--port', server.port.to_s,
              *args.map(&:to_s)]
      IO.popen(argv) { |io| JSON.parse(first_line(io, 180)) }
    end

    # A program of bench/ by its path.
    def program(name)
      File.join(@build, "bench", name)
    end

    # wrk's own figures, with a script of its own.
    def wrk(server, script, connections:, seconds:)
      kase = Case.new(connections: connections, headers: {}, depth: 1)
      Wrk.run(kase, "http://127.0.0.1:#{server.port}/", cpu: @load_cpu, seconds: seconds,
                                                         script: File.join(ROOT, 'bench/lib', script))
    end

    # CPU microseconds of the server per request of a load; fails on errors.
    def cost(server, *args, path: nil)
      before = server.tree.cpu
      r = load(server, *args, path: path)
      raise Server::Failed, "#{r['errors']} errors under load" if r['errors'].positive? || r['requests'].zero?

      ProcessTree.used(before, server.tree.cpu).last / 1e3 / r['requests']
    end

    private

    def first_line(io, limit)
      raise Server::Failed, 'load does not answer' unless io.wait_readable(limit)

      io.gets or raise Server::Failed, 'load failed'
    end
  end
end
