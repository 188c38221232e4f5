# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :'constant-nginx' do
  says 'a constant answer costs less than nginx return 200'
  on :constant
  ratio :hyperion, :nginx, at_most: 0.9
end

Lab.gate :'constant-floor' do
  says 'a constant answer costs little more than the kernel alone'
  on :constant
  ratio :hyperion, :floor, at_most: 1.2
end
