# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'
require_relative 'process_tree'
require_relative 'dialogue'

module Lab
  # A peer that runs: started on a port, pinned to a CPU, stopped by pid, always.
  class Server
    class Failed < StandardError; end
    class EndedAtStart < Failed; end
    class Lacks < Failed; end # it does not have what the case needs

    FIRST_PORT = 18_100 # below the range that clients' ports are taken from
    START_LIMIT_S = 20
    STOP_LIMIT_S = 5
    @running = []
    # Runs begin at different ones: some servers cannot bind where the run before has connections in TIME_WAIT.
    @next_port = FIRST_PORT + (Process.pid % 5000)

    class << self
      attr_reader :running

      def stop_all
        @running.dup.each(&:stop)
      end

      # Locked until this program ends: two servers on one port would share it by SO_REUSEPORT, and
      # between the look and the start of a server a second lab may look as well.
      def free_port
        500.times do
          port = @next_port
          @next_port = @next_port >= FIRST_PORT + 5000 ? FIRST_PORT : @next_port + 1
          next unless lock(port)

          TCPServer.new('127.0.0.1', port).close
          return port
        rescue Errno::EADDRINUSE
          next
        end
        raise Failed, 'no free port'
      end

      private

      def lock(port)
        @locks ||= {}
        @locks[port] ||= File.open(File.join(Dir.tmpdir, "hyperion-lab-port-#{port}"), File::RDWR | File::CREAT, 0o666)
        @locks[port].flock(File::LOCK_EX | File::LOCK_NB)
      end
    end

    attr_reader :peer, :host, :port, :tree

    # stdout: nil = its log. tls: the certificate, if it is to speak TLS.
    def initialize(peer, build:, cpu:, resource: :constant, extra: [], stdout: nil, tls: nil, workers: 1, host: '127.0.0.1')
      @peer = peer
      @host = host
      @tls = tls
      raise Failed, peer.absence unless peer.program(build)

      @port = self.class.free_port
      @dir = Dir.mktmpdir("lab-#{peer.name}-")
      site = Site.new(host: host, port: @port, program: peer.program(build), dir: @dir, resource: resource, extra: extra, tls: tls,
                      workers: workers)
      @log = File.join(@dir, 'log')
      # A lab that is killed must not leave servers behind.
      argv = ['setpriv', '--pdeathsig', 'TERM', 'taskset', '-c', cpu.to_s, *peer.command.call(site), *extra]
      @pid = Process.spawn({ 'HYPERION_INSTANCE' => "lab-#{@port}" }, *argv, pgroup: true, in: File::NULL,
                           out: stdout || @log, err: @log, chdir: @dir)
      self.class.running << self
      @tree = ProcessTree.new(@pid)
      wait_until_it_answers
    rescue Failed
      stop
      raise
    end

    def stop
      return unless @dir

      @kept&.each(&:close)

      if @pid
        pids = @tree.pids
        signal('TERM', @pid)
        unless ended_within?(STOP_LIMIT_S)
          (pids | @tree.pids).each { |p| signal('KILL', p) }
          Process.wait(@pid)
        end
        # A worker that is stuck may outlive who should have ended it.
        (pids & ProcessTree.stats.keys).each { |p| signal('KILL', p) }
      end
      self.class.running.delete(self)
      FileUtils.rm_rf(@dir)
      @pid = @dir = nil
    end

    def alive?
      @pid && !Process.wait(@pid, Process::WNOHANG)
    rescue Errno::ECHILD
      false
    end

    # What it said at its end, or of its end when it was a crash.
    def log_tail
      lines = File.readlines(@log).map(&:scrub)
      (lines.grep(/\[BUG\]|segmentation fault|assertion|fatal/i).first(1) + lines.last(3)).map(&:strip).uniq.join(' | ')
    rescue SystemCallError
      ''
    end

    # A connection that stays open as long as the server runs.
    def keep(sock)
      (@kept ||= []) << sock
      sock
    end

    # The body of a 200 to one GET.
    def get(path)
      kase = Case.new(**DEFAULTS, needs: @tls ? [:tls] : [])
      Dialogue.new(@host, @port, kase, path).get
    end

    # Sends the requests of the case once and compares what comes back. Returns facts of one answer.
    def check(kase, path = peer.paths.fetch(kase.resource))
      congestion = nil
      facts = Dialogue.new(@host, @port, kase, path).check { congestion = congestion_control unless kase.closes }
      facts.merge('congestion_control' => congestion)
    end

    private

    def wait_until_it_answers
      deadline = Lab.clock + START_LIMIT_S
      begin
        TCPSocket.new(@host, @port).close
      rescue SystemCallError
        unless alive?
          @pid = nil
          raise EndedAtStart, "ended at start: #{log_tail}"
        end
        raise Failed, 'does not listen' if Lab.clock > deadline

        sleep 0.05
        retry
      end
    end

    def signal(name, pid)
      Process.kill(name, pid)
    rescue Errno::ESRCH
      nil
    end

    def ended_within?(seconds)
      deadline = Lab.clock + seconds
      until Process.wait(@pid, Process::WNOHANG)
        return false if Lab.clock > deadline

        sleep 0.02
      end
      true
    rescue Errno::ECHILD
      true
    end

    # As the kernel says of the server's end of a connection that is open now.
    def congestion_control
      out = IO.popen(['ss', '-Htin', 'state', 'established', "sport = :#{@port}", err: File::NULL], &:read)
      out.lines.find { |l| l.start_with?("\t") }&.split&.find { |w| w =~ /\A(bbr|cubic|reno|dctcp|[a-z]+)\z/ && w != 'ts' && w != 'sack' }
    rescue Errno::ENOENT
      nil
    end
  end

  def self.clock
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
