# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Sends every message back, in the way that the server at hand has for WebSockets; 501 where there is none.

# agoo and iodine call a handler that stands in rack.upgrade.
class Echo
  def on_message(client, message)
    client.write(message.encoding == Encoding::BINARY ? message.dup.force_encoding('UTF-8') : message) # else a binary frame
  end
end

# falcon, by its own library.
by_async = lambda do |env|
  require 'async/websocket/adapters/rack'
  Async::WebSocket::Adapters::Rack.open(env) do |connection|
    while (message = connection.read)
      connection.write(message)
      connection.flush
    end
  end
end

# This server: it has checked the handshake, the app takes the connection.
by_hyperion = lambda do |env|
  _ok, accept, subprotocol, extensions = env['hyperion.websocket.handshake']
  io = env['rack.hijack'].call
  io.write(Hyperion::WebSocket::Handshake.build_101_response(accept, subprotocol, extensions))
  connection = Hyperion::WebSocket::Connection.new(io, buffered: env['hyperion.hijack_buffered'])
  while (kind, message = connection.recv) && kind != :close
    connection.send(message, opcode: kind)
  end
  [101, {}, []]
end

run lambda { |env|
  if env['hyperion.websocket.handshake']
    by_hyperion.call(env)
  elsif env['rack.upgrade?'] == :websocket
    env['rack.upgrade'] = Echo.new
    [env['SERVER_SOFTWARE'].to_s.start_with?('iodine') || defined?(Iodine) ? 0 : 101, {}, []]
  elsif defined?(Falcon) && (answer = by_async.call(env))
    answer
  else
    [501, { 'content-type' => 'text/plain' }, ["no WebSocket here\n"]]
  end
}
