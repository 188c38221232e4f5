# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Files, and at /held a handler that keeps the GVL for 50 ms in native code, again and again.
require 'fiddle'
require 'rack'

hold = Fiddle::Function.new(Fiddle::Handle::DEFAULT['usleep'], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true)
files = Rack::Files.new(ENV.fetch('LAB_FILES'))

run lambda { |env|
  if env['PATH_INFO'] == '/held'
    hold.call(50_000)
    next [200, { 'content-type' => 'text/plain' }, ["OK\n"]]
  end
  files.call(env.merge('PATH_INFO' => env['PATH_INFO'].delete_prefix('/files')))
}
