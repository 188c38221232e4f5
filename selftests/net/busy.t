#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An address that is taken: who has it, as far as may be known.

require_relative "client"

# What a start on a taken port says.
def busy(bind)
  needs("root") if Server::MODE == "nobody" && !Process.euid.zero?
  server = Server.start("-w", 1, bind: bind, wait: false)
  assert_equal 1, server.wait.exitstatus
  lines = server.log.lines(chomp: true).grep(/error/)
  assert_equal 1, lines.size, server.log
  lines.first[/Address already in use; (.*)/, 1]
end

def assert_us(said)
  if Server::MODE == "nobody"
    assert_equal "another process listens there, of user root: `ss -lnp` as root shows which; stop it or choose another --bind", said
  else
    name = File.read("/proc/self/comm").chomp
    assert_equal "another process listens there: #{name}, pid #{Process.pid}; stop it or choose another --bind", said
  end
end

test "a port that somebody has: who" do
  [["127.0.0.1", "127.0.0.1"], ["0.0.0.0", "127.0.0.1"], ["127.0.0.1", "0.0.0.0"], ["::", "127.0.0.1"], ["::1", "[::1]"],
   ["::", "[::1]"], ["::1", "[::]"]].each do |theirs, ours|
    listener = TCPServer.new(theirs, 0)
    assert_us busy("tcp://#{ours}:#{listener.addr[1]}")
    listener.close
  end
end

test "of two that listen on the port, the one in our way" do
  listener = TCPServer.new("127.0.0.1", 0)
  child = fork do
    TCPServer.new("127.0.0.2", listener.addr[1])
    sleep
  end
  Tap.after { Process.kill(:KILL, child) && Process.wait(child) }
  eventually("the other one") { TCPSocket.new("127.0.0.2", listener.addr[1]) rescue nil }
  assert_us busy("tcp://127.0.0.1:#{listener.addr[1]}")
  listener.close
end

test "a port that is taken and nobody listens: no guess" do
  socket = Socket.new(:INET, :STREAM)
  socket.bind(Addrinfo.tcp("127.0.0.1", 0))
  said = busy("tcp://127.0.0.1:#{socket.local_address.ip_port}")
  assert_match(/\Ait is taken, though nobody is seen to listen there/, said)
  socket.close
end

test "a second server of ours: the first one's supervisor" do
  first = Server.start("-w", 2)
  eventually("its workers") { first.log.include?("workers=2") }
  said = busy("tcp://127.0.0.1:#{first.port}")
  assert_equal "another process listens there: hyperion-bpf, pid #{first.pid}; stop it or choose another --bind", said
end

test "a Unix socket that somebody has: who" do
  path = File.join(open_folder, "a b")
  listener = UNIXServer.new(path)
  File.chmod(0o777, path)
  said = busy("unix://#{path}")
  assert_match(/\Aanother process listens there#{Server::MODE == "nobody" ? ": `ss" : ": .*pid #{Process.pid};"}/, said)
  listener.close
end
