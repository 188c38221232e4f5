# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'

module Lab
  # Kept connections that ask at set times, whether the last answer was there or not: an answer's
  # time counts from when it was due to be asked for, so that a server that stands still is seen as it
  # is by those who would have come meanwhile.
  class Paced
    ANSWERED = /\AHTTP\/1\.1 200 .*?\r\n\r\nOK\n/m

    # One of them: when its next request is due, and when those were that have no answer yet.
    Caller = Struct.new(:socket, :due, :waiting, :rest)

    attr_reader :seconds, :unanswered

    def initialize(port, connections:, every:)
      @every = every
      @seconds = []
      now = Lab.clock
      @callers = Array.new(connections) do |i|
        socket = TCPSocket.new('127.0.0.1', port)
        socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
        Caller.new(socket, now + (every * i / connections), [], +'')
      end
    end

    # Asks for so long, then waits for the rest. After @after seconds it calls the block, once.
    def run(seconds, after:, &event)
      now = began = Lab.clock
      while now < began + seconds || (now < began + seconds + 5 && @callers.any? { |c| c.waiting.any? })
        if event && now >= began + after
          event.call
          event = nil
        end
        ask(now) if now < began + seconds
        listen
        now = Lab.clock
      end
      @unanswered = @callers.sum { |c| c.waiting.size }
      @callers.each { |c| c.socket.close }
      self
    end

    # Of all that were asked, also those that were never answered.
    def percentile(share)
      all = @seconds.sort + Array.new(@unanswered, Float::INFINITY)
      all[(all.size * share).to_i]
    end

    private

    def ask(now)
      @callers.each do |c|
        next if c.due > now

        c.socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.waiting << c.due
        c.due += @every
      end
    end

    def listen
      ready, = IO.select(@callers.map(&:socket), nil, nil, 0.002)
      by_socket = (@by_socket ||= @callers.to_h { |c| [c.socket, c] }.compare_by_identity)
      ready&.each { |socket| take(by_socket.fetch(socket)) }
    end

    def take(caller)
      caller.rest << caller.socket.read_nonblock(65_536)
      while caller.rest.slice!(ANSWERED)
        @seconds << (Lab.clock - caller.waiting.shift)
      end
    rescue IO::WaitReadable
      nil
    end
  end
end
