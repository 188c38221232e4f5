# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :'rack-slow1-iodine' do
  says 'a request that waits does not hold up those behind it'
  on :rack_slow1
  rate :'hyperion-t5', :'iodine-5', at_least: 1.1
end

Lab.gate :'rack-slow1-puma' do
  says 'a request that waits does not hold up those behind it'
  on :rack_slow1
  rate :'hyperion-t5', :'puma-5', at_least: 2.5
end
