# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Long answers in pieces, events, and a short answer beside them.
TEXT = { 'content-type' => 'text/plain' }.freeze
EVENTS = { 'content-type' => 'text/event-stream' }.freeze
PIECE = ('x' * 65_536).freeze
EVENT = "data: #{'e' * 42}\n\n".freeze # 50 bytes

# As many pieces as asked for, made one by one.
class Pieces
  def initialize(piece, count)
    @piece = piece
    @count = count
  end

  def each
    @count.times { yield @piece }
  end
end

# What time it is, now and then.
class Clock
  def each
    100.times do
      yield "data: 17096946272\n\n"
      sleep 0.01
    end
  end
end

# What time it is, now and then.
class Clock
  def each
    100.times do
      yield "data: #{Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)}\n\n"
      sleep 0.01
    end
  end
end

handlers = {
  '/' => ->(_env) { [200, TEXT.dup, ["OK\n"]] },
  '/gigabyte' => ->(_env) { [200, TEXT.dup, Pieces.new(PIECE, 16_384)] },
  '/events' => ->(_env) { [200, EVENTS.dup, Pieces.new(EVENT, 1_000)] },
  '/clock' => ->(_env) { [200, EVENTS.dup, Clock.new] },
  '/clock' => ->(_env) { [200, EVENTS.dup, Clock.new] }
}

run ->(env) { handlers.fetch(env['PATH_INFO']).call(env) }
