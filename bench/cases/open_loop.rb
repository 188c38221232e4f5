# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# So many requests a second, whatever the server does: what a user's latency looks like while it is not at its limit.
Lab.case :open_hello, title: 'hello at 4,000 requests a second, 100 kept connections (open loop)', resource: :hello, load: :load, rate: 4000
Lab.case :open_slow1, title: 'the same at 2,000, one in a hundred sleeps 10 ms (open loop)', resource: :slow1, load: :load, rate: 2000
Lab.case :open_json, title: 'JSON of 50 keys at 1,000 requests a second, 100 kept connections (open loop)', resource: :json, load: :load,
                     rate: 1000, expect: ->(body) { JSON.parse(body).size == 50 }
