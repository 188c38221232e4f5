# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# /stuck holds its thread for two seconds, asleep or computing.
ends = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) + 2 }
stuck = {
  '/stuck' => -> { sleep 2 },
  '/computes' => lambda {
    at = ends.call
    nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < at
  }
}

run lambda { |env|
  stuck[env['PATH_INFO']]&.call
  [200, { 'content-type' => 'text/plain' }, ["OK\n"]]
}
