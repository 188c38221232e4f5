# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :newconn do
  says 'a connection of one request costs little more than the kernel alone'
  on :newconn
  ratio :hyperion, :floor, at_most: 1.4
end
