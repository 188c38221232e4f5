# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :'rack-hello-nginx' do
  says 'a Rack hello costs what nginx takes for a constant, and little more'
  on :rack_hello
  ratio :'hyperion-t1', :nginx, at_most: 1.25
  ratio :'hyperion-t0', :nginx, at_most: 1.25
end

Lab.gate :'rack-hello-nginx-t5' do
  says 'five threads cost hardly more than one'
  on :rack_hello
  ratio :'hyperion-t5', :nginx, at_most: 1.4
end

Lab.gate :'rack-hello-iodine' do
  says 'a Rack hello costs less than with iodine'
  on :rack_hello
  ratio :'hyperion-t1', :'iodine-1', at_most: 0.7
end

Lab.gate :'rack-hello-puma' do
  says 'a Rack hello costs a fifth of what puma takes'
  on :rack_hello
  ratio :'hyperion-t5', :'puma-5', at_most: 0.2
end

Lab.gate :'rack-json' do
  says 'packets do not preempt the handlers: JSON costs less than with iodine'
  on :rack_json
  ratio :'hyperion-t1', :'iodine-1', at_most: 0.75
  ratio :'hyperion-t0', :'iodine-1', at_most: 0.75
end
