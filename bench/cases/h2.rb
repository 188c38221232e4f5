# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :h2_hello, title: 'hello by HTTP/2 over TLS, 10 connections with 10 streams each', resource: :hello, connections: 10, depth: 10,
                    needs: %i[tls h2], load: :h2load

# As long as a browser's, and different from each other.
fields = (1..25).to_h { |i| ["x-lab-field-#{i}", "value-#{i}-#{'v' * (i % 7 * 6)}"] }
Lab.case :h2_headers25, title: 'the same with 25 header fields', resource: :hello, connections: 10, depth: 10, headers: fields,
                        needs: %i[tls h2], load: :h2load
