# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'

# One of four workers hangs for good; new connections should go to the others. The hanging request is on a connection that
# stays open; who gets nothing else within half a second of it is not judged.
Lab.case :stuck_worker, title: 'one of four workers stuck for good, a new connection for every request (50 at a time)',
                        resource: :hung, connections: 50, workers: 4, needs: [:workers], load: :load, fresh: true,
                        before: lambda { |server|
                          server.keep(TCPSocket.new(server.host, server.port)).write("GET /stuck HTTP/1.1\r\nHost: lab\r\n\r\n")
                          sleep 0.5
                        }
