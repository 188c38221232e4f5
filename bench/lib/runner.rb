# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module Lab
  # One interleaved run: all peers of a case are started, then measured in turn, round after round
  # (A B C A B C), so that what the machine does meanwhile falls on all of them.
  class Runner
    WARMUP_S = 1
    attr_reader :rows, :settings, :complete

    def initialize(cases:, peers:, settings:, progress: $stderr)
      @cases = cases
      @peers = peers
      @settings = settings # :rounds, :seconds, :build, :server_cpu, :load_cpu
      @progress = progress
      @rows = []
      @complete = false
    end

    # Ends early on Interrupt and keeps what is there.
    def run
      @plan = @cases.sum { |c| @peers.count { |p| !absence(p, c) } } * settings[:rounds]
      @done = 0
      @began = Lab.clock
      @cases.each { |c| run_case(c) }
      @complete = true
    rescue Interrupt
      @progress.puts "\nstopped; what is done is kept"
    ensure
      @progress.print "\r\e[K" if @progress.tty?
      Server.stop_all
    end

    private

    def absence(peer, kase)
      peer.program(settings[:build]) ? peer.reason_against(kase) : peer.absence
    end

    def run_case(kase)
      rows = @peers.map { |p| Row.new(kase, p) }
      @rows.concat(rows)
      servers = rows.to_h { |r| [r, open(r)] }
      settings[:rounds].times do |n|
        servers.each { |row, server| measure(row, server, n) if row.alive? }
      end
    ensure
      Server.stop_all
    end

    def open(row)
      if (reason = absence(row.peer, row.kase))
        row.give_up(:missing, reason)
        return
      end
      server = Server.new(row.peer, build: settings[:build], cpu: settings[:server_cpu], resource: row.kase.resource)
      row.answer = server.check(row.kase)
      server
    rescue Server::Failed, SystemCallError => e
      row.give_up(:failed, e.message)
      @done += settings[:rounds]
      server&.stop
      nil
    end

    def measure(row, server, round)
      say("#{row.kase.name} #{row.peer.name} round #{round + 1}/#{settings[:rounds]}")
      url = "http://127.0.0.1:#{server.port}#{row.peer.paths.fetch(row.kase.resource)}"
      load = { cpu: settings[:load_cpu] }
      Wrk.run(row.kase, url, **load, seconds: WARMUP_S)
      cpu = server.tree.cpu
      busy = ProcessTree.cpu_busy_ns(settings[:server_cpu])
      figures = Wrk.run(row.kase, url, **load, seconds: settings[:seconds])
      busy = ProcessTree.cpu_busy_ns(settings[:server_cpu]) - busy
      source, used = ProcessTree.used(cpu, server.tree.cpu)
      row.add(round, figures, used, source, busy)
    rescue Server::Failed => e
      tail = server.alive? ? '' : "; the server ended: #{server.log_tail}"
      row.give_up(:failed, e.message + tail)
    ensure
      @done += 1
    end

    def say(what)
      each = settings[:seconds] + WARMUP_S + 0.2
      each = (Lab.clock - @began) / @done if @done > 2
      left = (each * (@plan - @done)).ceil
      line = format('%3d %%  %d:%02d left  %s', 100 * @done / [@plan, 1].max, left / 60, left % 60, what)
      @progress.tty? ? @progress.print("\r\e[K#{line}") : @progress.puts(line)
    end
  end
end
