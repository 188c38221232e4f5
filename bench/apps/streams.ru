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

handlers = {
  '/' => ->(_env) { [200, TEXT.dup, ["OK\n"]] },
  '/gigabyte' => ->(_env) { [200, TEXT.dup, Pieces.new(PIECE, 16_384)] },
  '/events' => ->(_env) { [200, EVENTS.dup, Pieces.new(EVENT, 1_000)] }
}

run ->(env) { handlers.fetch(env['PATH_INFO']).call(env) }
