# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Reads all of a body and says how long it was.
run lambda { |env|
  input = env['rack.input']
  length = 0
  while input && (piece = input.read(65_536))
    length += piece.bytesize
  end
  [200, { 'content-type' => 'text/plain' }, ["#{length}\n"]]
}
