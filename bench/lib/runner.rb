# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module Lab
  # One interleaved run: all peers of a case are started, then measured in turn, round after round
  # (A B C A B C), so that what the machine does meanwhile falls on all of them.
  class Runner
    WARMUP_S = 1
    OVERHEAD_S = 0.7 # of each measurement: processes that start, a server's share of its start
    attr_reader :rows, :settings, :complete

    def initialize(cases:, peers:, settings:, progress: $stderr)
      @cases = cases
      @peers = peers
      @settings = settings # :rounds, :seconds, :build, :server_cpu, :load_cpu, :budget
      @progress = progress
      @rows = []
      @complete = false
    end

    # Ends early on Interrupt and keeps what is there.
    def run
      @plan = @cases.sum { |c| concerned(c).count { |p| !absence(p, c) } } * settings[:rounds]
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

    # With a budget (seconds for all) fewer rounds where there is not time for all of them.
    def rounds_of(rows)
      return settings[:rounds] unless settings[:budget]

      share = rows.count(&:alive?) * settings[:rounds] / [@plan - @done, 1].max.to_f
      left = (settings[:budget] - (Lab.clock - @began)) * [share, 1.0].min
      fit = left / [rows.count(&:alive?) * (settings[:seconds] + WARMUP_S + OVERHEAD_S), 1].max
      rounds = fit.floor.clamp(1, settings[:rounds])
      @plan -= (settings[:rounds] - rounds) * rows.count(&:alive?)
      rounds
    end

    # A server of files has nothing to do with a case of Rack apps: there is no row.
    def concerned(kase)
      @peers.select { |p| p.concerns?(kase) }
    end

    def absence(peer, kase)
      return peer.absence unless peer.program(settings[:build])

      peer.reason_against(kase) || Load.absence(kase) || Resource.absence(kase.resource, settings[:build])
    end

    def run_case(kase)
      rows = concerned(kase).map { |p| Row.new(kase, p) }
      @rows.concat(rows)
      servers = rows.to_h { |r| [r, open(r)] }
      rounds_of(rows).times do |n|
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
      kase = row.kase
      server = Server.new(row.peer, build: settings[:build], cpu: settings[:server_cpu], resource: kase.resource,
                                    tls: kase.tls? ? Certs.pair : nil, workers: kase.workers)
      row.answer = server.check(kase)
      kase.before&.call(server)
      server
    rescue Server::Failed, SystemCallError => e
      row.give_up(lacks?(row, e) ? :missing : :failed, e.message)
      @done += settings[:rounds]
      server&.stop
      nil
    end

    # A server that does not speak a protocol has not got it. Our own is asked for all that is planned, and refuses at its start
    # what it does not know; a peer's failure to start is one.
    def lacks?(row, error)
      error.is_a?(Server::Lacks) || (row.peer.ours? && (row.kase.needs.any? || row.peer.tries) && error.is_a?(Server::EndedAtStart))
    end

    def measure(row, server, round)
      say("#{row.kase.name} #{row.peer.name} round #{round + 1}/#{settings[:rounds]}")
      path = row.peer.paths.fetch(row.kase.resource)
      Load.run(row.kase, server, path, settings, seconds: WARMUP_S, answer: row.answer, each: true)
      cpu = server.tree.cpu
      busy = ProcessTree.cpu_busy_ns(settings[:server_cpu])
      figures = Load.run(row.kase, server, path, settings, seconds: settings[:seconds], answer: row.answer)
      busy = ProcessTree.cpu_busy_ns(settings[:server_cpu]) - busy
      source, used = ProcessTree.used(cpu, server.tree.cpu)
      row.add(round, figures, used, source, busy, server.tree.resident_bytes)
    rescue Server::Failed => e
      tail = server.alive? ? '' : "; the server ended: #{server.log_tail}"
      row.give_up(:failed, e.message + tail)
      @done += settings[:rounds] - round - 1 # there are no more rounds of it
    ensure
      @done += 1
    end

    def say(what)
      each = settings[:seconds] + WARMUP_S + OVERHEAD_S
      each = (Lab.clock - @began) / @done if @done > 2
      left = (each * (@plan - @done)).ceil
      line = format('%3d %%  %d:%02d left  %s', 100 * @done / [@plan, 1].max, left / 60, left % 60, what)
      @progress.tty? ? @progress.print("\r\e[K#{line}") : @progress.puts(line)
    end
  end
end
