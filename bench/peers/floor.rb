# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# The limit: a minimal raw io_uring responder of our own (bench/floor.c), no HTTP server at all.
Lab.peer :floor do
  title 'minimal io_uring responder, the limit'
  binary 'build/bench/floor'
  offers constant: '/', hello: '/', file1k: '/'
  command { |s| [s.program, '--port', s.port.to_s, *(s.resource == :file1k ? ['--body', '1024'] : [])] }
end
