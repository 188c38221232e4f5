# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :rack_slow1, title: 'the same hello, of which one in a hundred sleeps 10 ms, 50 kept connections',
                      resource: :slow1, connections: 50
