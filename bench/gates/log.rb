# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Two servers side by side, loaded in turn, so that a slow minute of the machine falls on both.
module LogGate
  ROUNDS = 7
  LOAD = ['--connections', 50, '--seconds', 1].freeze

  # CPU of the second server per request over that of the first, in microseconds.
  def self.compare(kit, name, first, second, path: nil, **how)
    kit.with_server(name, extra: first, **how) do |a|
      kit.with_server(name, extra: second, **how) do |b|
        [a, b].each { |s| kit.cost(s, *LOAD, path: path) }
        rounds = Array.new(ROUNDS) { [a, b].map { |s| kit.cost(s, *LOAD, path: path) } }
        costs = rounds.transpose.map { |list| Lab::Row.median(list) }
        [Lab::Row.median(rounds.map { |x, y| y - x }), *costs]
      end
    end
  end

  def self.finding(more, without, with, at_most)
    Lab::Gate::Finding.new(format('%.2f us more, %.2f without and %.2f with (at most %.1f more)', more, without, with, at_most),
                           more <= at_most)
  end

  # Longest wait of a second of load on a server whose log goes to a pipe.
  def self.longest(kit, server)
    r = kit.load(server, *LOAD)
    raise Lab::Server::Failed, "#{r['errors']} errors under load" if r['errors'].positive? || r['requests'].zero?

    r['max_us'] / 1e3
  end

  # Yields a server whose log goes to a pipe, which a thread reads if it is to be read.
  def self.with_pipe(kit, read:)
    reader, writer = IO.pipe
    thread = Thread.new { IO.copy_stream(reader, File::NULL) } if read
    kit.with_server(extra: %w[--log-requests], stdout: writer) { |s| yield s, writer }
  ensure
    thread&.kill&.join
    [writer, reader].compact.each(&:close)
  end
end

Lab.gate :'log-constant' do
  says 'the access log costs a constant answer at most 1 us'
  check { |kit| [LogGate.finding(*LogGate.compare(kit, :hyperion, [], %w[--log-requests]), 1.0)] }
end

Lab.gate :'log-rack' do
  says 'the access log costs a Rack hello at most 1 us'
  check do |kit|
    [LogGate.finding(*LogGate.compare(kit, :'hyperion-t1', [], %w[--log-requests], path: '/', kase: :rack_hello), 1.0)]
  end
end

Lab.gate :'request-id' do
  says 'a request id costs a Rack hello next to nothing'
  check do |kit|
    [LogGate.finding(*LogGate.compare(kit, :'hyperion-t1', %w[--no-request-id], [], path: '/', kase: :rack_hello), 0.5)]
  end
end

Lab.gate :'log-unread' do
  says 'a log pipe that nobody reads delays not one request'
  check do |kit|
    LogGate.with_pipe(kit, read: true) do |read|
      LogGate.with_pipe(kit, read: false) do |unread, pipe|
        kit.load(unread, *LogGate::LOAD)
        full = !pipe.wait_writable(0)
        rounds = Array.new(LogGate::ROUNDS) { [read, unread].map { |s| LogGate.longest(kit, s) } }
        alone, beside = rounds.transpose.map(&:min)
        [Lab::Gate::Finding.new("the pipe is #{full ? 'full' : 'not full'} (full)", full),
         Lab::Gate::Finding.new(format('longest wait within a second, best of 7: %.2f ms, %.2f when it is read (at most 5 more)',
                                       beside, alone), beside <= alone + 5)]
      end
    end
  end
end
