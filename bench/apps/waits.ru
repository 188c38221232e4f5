# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# A fast handler beside some that wait, and what a worker says of itself.
hello = ->(_env) { [200, { 'content-type' => 'text/plain' }, ["OK\n"]] }
handlers = {
  '/' => hello,
  '/sleeps' => lambda { |env|
    10.times { sleep 0.001 }
    hello.call(env)
  },
  '/nap' => lambda { |env|
    sleep 2
    hello.call(env)
  },
  '/burn' => lambda { |env|
    ends = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 2
    nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < ends
    hello.call(env)
  },
  '/allocated' => ->(_env) { [200, { 'content-type' => 'text/plain' }, [GC.stat(:total_allocated_objects).to_s]] }
}

run ->(env) { handlers.fetch(env['PATH_INFO']).call(env) }
