# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One request in a hundred waits 10 ms, as for a database.
count = 0

run lambda { |_env|
  sleep 0.01 if ((count += 1) % 100).zero?
  [200, { 'content-type' => 'text/plain' }, ["OK\n"]]
}
