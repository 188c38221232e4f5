# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :sse, title: '1,000 events of 50 bytes, made one by one, 20 kept connections', resource: :sse, connections: 20,
               expect: ->(body) { body == "data: #{'e' * 42}\n\n" * 1000 }
