# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :upload1m, title: 'POST of 1 MiB that a Rack app reads, 20 kept connections', resource: :upload, connections: 20,
                    body_bytes: 1 << 20, expect: ->(body) { body == "#{1 << 20}\n" }
