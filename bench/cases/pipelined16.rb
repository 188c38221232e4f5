# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :pipelined16, title: 'the same, 16 requests in one write', resource: :constant, depth: 16
