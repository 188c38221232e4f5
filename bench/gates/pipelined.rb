# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :pipelined do
  says 'pipelined requests are answered in one send'
  on :pipelined16
  cost :hyperion, at_most: 1.2
  ratio :hyperion, :floor, at_most: 3
end
