# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# All sorts of requests and answers, for the long run.
require 'json'

hello = ->(_env) { [200, { 'content-type' => 'text/plain' }, ["OK\n"]] }
text = { 'content-type' => 'text/plain' }
pieces = Enumerator.new { |y| 20.times { |i| y << "piece #{i}\n" } }
file = Class.new do
  def to_path = __FILE__
  def each = yield File.binread(__FILE__)
end.new
large = ('x' * 1023 << "\n") * 256

handlers = {
  '/' => hello,
  '/json' => ->(_env) { [200, { 'content-type' => 'application/json' }, [JSON.generate((0..49).to_h { |i| ["key_#{i}", i] })]] },
  '/pieces' => ->(_env) { [200, text.dup, pieces] },
  '/file' => ->(_env) { [200, text.dup, file] },
  '/large' => ->(_env) { [200, text.dup, [large]] },
  '/body' => ->(env) { [200, text.dup, [env['rack.input'].read.to_s.bytesize.to_s]] },
  '/nap' => lambda { |env|
    sleep 0.001
    hello.call(env)
  },
  '/none' => ->(_env) { [404, text.dup, []] }
}

run ->(env) { handlers.fetch(env['PATH_INFO']).call(env) }
