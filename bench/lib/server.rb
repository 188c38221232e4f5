# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'
require_relative 'process_tree'

module Lab
  # A peer that runs: started on a port, pinned to a CPU, stopped by pid, always.
  class Server
    class Failed < StandardError; end

    FIRST_PORT = 18_100 # below the range that clients' ports are taken from
    START_LIMIT_S = 20
    STOP_LIMIT_S = 5
    @running = []
    @next_port = FIRST_PORT

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

    attr_reader :peer, :port, :tree

    # stdout: nil = its log.
    def initialize(peer, build:, cpu:, resource: :constant, extra: [], stdout: nil)
      @peer = peer
      raise Failed, peer.absence unless peer.program(build)

      @port = self.class.free_port
      @dir = Dir.mktmpdir("lab-#{peer.name}-")
      site = Site.new(port: @port, program: peer.program(build), dir: @dir, resource: resource,
                      extra: extra)
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

      if @pid
        pids = @tree.pids
        signal('TERM', @pid)
        unless ended_within?(STOP_LIMIT_S)
          (pids | @tree.pids).each { |p| signal('KILL', p) }
          Process.wait(@pid)
        end
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

    def log_tail
      File.readlines(@log).last(5).join.strip
    rescue SystemCallError
      ''
    end

    # The body of a 200 to one GET.
    def get(path)
      sock = TCPSocket.new('127.0.0.1', @port)
      sock.write(request(path, {}))
      status, _head, body = read_answer(sock)
      raise Failed, "answered #{status} to #{path}" unless status == 200

      body
    ensure
      sock&.close
    end

    # Sends the requests of the case once and compares what comes back. Returns facts of one answer.
    def check(kase, path = peer.paths.fetch(kase.resource))
      sock = TCPSocket.new('127.0.0.1', @port)
      sock.write(request(path, kase.headers) * kase.depth)
      answers = Array.new(kase.depth) { read_answer(sock) }
      answers.each do |status, _head, body|
        raise Failed, "answered #{status} to #{path}" unless status == 200
        raise Failed, "answered #{body.to_s[0, 80].inspect}" unless kase.expect.call(body)
      end
      raise Failed, 'did not close the connection' if kase.closes && !closed?(sock)

      { 'status' => 200, 'head_bytes' => answers[0][1].bytesize, 'body_bytes' => answers[0][2].bytesize,
        'congestion_control' => kase.closes ? nil : congestion_control }
    rescue SystemCallError, EOFError => e
      raise Failed, "check: #{e.message}"
    ensure
      sock&.close
    end

    private

    def wait_until_it_answers
      deadline = Lab.clock + START_LIMIT_S
      begin
        TCPSocket.new('127.0.0.1', @port).close
      rescue SystemCallError
        unless alive?
          @pid = nil
          raise Failed, "ended at start: #{log_tail}"
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

    def request(path, headers)
      "GET #{path} HTTP/1.1\r\nHost: 127.0.0.1:#{@port}\r\n#{headers.map { |k, v| "#{k}: #{v}\r\n" }.join}\r\n"
    end

    def read_answer(sock)
      raise Failed, 'no answer within 5 s' unless sock.wait_readable(5)

      head = sock.gets("\r\n\r\n") or raise Failed, 'closed without an answer'
      status = head[%r{\AHTTP/1\.1 (\d+)}, 1].to_i
      return [status, head, read_chunks(sock)] if head.match?(/^transfer-encoding:\s*chunked/i)

      length = head[/^content-length:\s*(\d+)/i, 1] or raise Failed, 'answer without Content-Length'
      [status, head, sock.read(length.to_i)]
    end

    def read_chunks(sock)
      body = +''
      until (size = sock.gets("\r\n").to_i(16)).zero?
        body << sock.read(size)
        sock.read(2)
      end
      sock.read(2)
      body
    end

    def closed?(sock)
      sock.wait_readable(5) && sock.read(1).nil?
    rescue Errno::ECONNRESET
      raise Failed, 'reset the connection'
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
