# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'

# Long answers to clients that read a mebibyte a second: they cost no memory, and nobody else waits.
module Streams
  ROUNDS = 5
  RATE = 1 << 20

  # Clients that read slowly, while the block runs; returns what they have read, and the block's value.
  def self.slowly(kit, server, connections:, seconds:)
    # They are not to take the fast client's CPU, which would be measured instead.
    argv = ['nice', '-n', '19', 'taskset', '-c', kit.load_cpu.to_s, kit.program('slow'), '--port', server.port.to_s, '--path', '/gigabyte',
            '--connections', connections.to_s, '--seconds', seconds.to_s, '--rate', RATE.to_s]
    IO.popen(argv) do |io|
      raise Lab::Server::Failed, 'slow does not start' unless io.wait_readable(20) && io.gets

      value = yield
      line = io.wait_readable(seconds + 20) && io.gets or raise Lab::Server::Failed, 'slow failed'
      [JSON.parse(line), value]
    end
  end

  def self.memory(kit)
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :streams) do |s|
      slowly(kit, s, connections: 1, seconds: 1) { sleep 0.5 }
      before = s.tree.resident_bytes
      read, grown = slowly(kit, s, connections: 1, seconds: 8) { Array.new(6) { sleep 1 and s.tree.resident_bytes }.max - before }
      [Lab::Gate::Finding.new(format('resident + %.2f MiB (below 4) while %.1f MiB of a gibibyte were read', grown / 1048576.0,
                                     read['bytes'] / 1048576.0), grown < 4 << 20 && read['bytes'] > 4 << 20)]
    end
  end

  def self.beside(kit, connections)
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :streams) do |s|
      work = ['--connections', 1, '--seconds', 2]
      kit.load(s, *work, path: '/')
      rounds = Array.new(ROUNDS) do
        alone = kit.load(s, *work, path: '/')
        read, fast = slowly(kit, s, connections: connections, seconds: 5) do
          sleep 1.5 # the kernel's buffers fill first
          kit.load(s, *work, path: '/')
        end
        [alone, fast, read]
      end
      findings(rounds, connections)
    end
  end

  # From the yield of an event to the client that reads it.
  def self.events(kit)
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :streams) do |s|
      late = Array.new(3) { late_events(s.port) }
      first = late.map(&:first).max / 1e3
      all = late.flatten.sort
      [Lab::Gate::Finding.new(format('first event %.2f ms after its yield (below 5), all of them p50 %.2f ms, p99 %.2f ms', first,
                                     all[all.size / 2] / 1e3, all[all.size * 99 / 100] / 1e3), first < 5)]
    end
  end

  # Microseconds, for each event.
  def self.late_events(port)
    socket = TCPSocket.new('127.0.0.1', port)
    socket.write("GET /clock HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    late = []
    while (line = socket.gets)
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
      late << (now - line[/\d+/].to_i) if line.start_with?('data: ')
    end
    raise Lab::Server::Failed, "#{late.size} events of 100" unless late.size == 100

    late
  ensure
    socket&.close
  end

  def self.findings(rounds, connections)
    ratio = Lab::Row.median(rounds.map { |a, b, _| b['p99_us'] / a['p99_us'] })
    alone, beside = [0, 1].map { |i| Lab::Row.median(rounds.map { |r| r[i]['p99_us'] }) / 1e3 }
    errors = rounds.sum { |r| r[0]['errors'] + r[1]['errors'] }
    pace = Lab::Row.median(rounds.map { |r| r[2]['bytes'] / 5.0 / connections / RATE })
    [Lab::Gate::Finding.new("errors #{errors} (0)", errors.zero?),
     Lab::Gate::Finding.new(format('each slow client got %.2f of its pace (above 0.5)', pace), pace > 0.5),
     Lab::Gate::Finding.new(format('p99 %.2f ms alone, %.2f ms beside %d slow streams = x %.2f (below 1.5)', alone, beside,
                                   connections, ratio), ratio < 1.5)]
  end
end

Lab.gate :'stream-memory' do
  says 'a gibibyte streamed to a slow client takes no memory'
  check { |kit| Streams.memory(kit) }
end

Lab.gate :'stream-beside' do
  says 'two hundred slow streams delay no fast request, with five threads'
  check { |kit| Streams.beside(kit, 200) }
end

Lab.gate :sse do
  says 'events that are made one by one leave in few sends'
  on :sse
  rate :'hyperion-t5', :'puma-5', at_least: 3.0
end

Lab.gate :'stream-event' do
  says 'an event is with its client as soon as it is there'
  check { |kit| Streams.events(kit) }
end
