# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :tls_hello, title: 'hello over TLS, 100 kept connections', resource: :hello, needs: [:tls], quick: true
Lab.case :tls_1m, title: 'file of 1 MiB over TLS, 20 kept connections', resource: :file1m, connections: 20, needs: [:tls],
                  expect: ->(body) { body.bytesize == 1 << 20 }
Lab.case :tls_full, title: 'hello over a new TLS connection each, full handshakes (P-256), 10 at a time', resource: :hello, connections: 10,
                    needs: [:tls], load: :handshakes
Lab.case :tls_resumed, title: 'the same, sessions resumed', resource: :hello, connections: 10, needs: [:tls], load: :handshakes,
                       resumed: true
