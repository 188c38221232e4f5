# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :static_beside_stuck, title: 'files of 1 KiB beside 8 clients whose handlers keep the GVL for 50 ms each, 50 kept connections',
                               resource: :held, connections: 50, load: :load, beside: { '/held' => 8 },
                               expect: ->(body) { body.bytesize == 1024 }
