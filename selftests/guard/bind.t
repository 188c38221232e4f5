#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# tcp://%IFACE:PORT: what comes through that interface, for whatever address it has.

require_relative "netns"

# A second pair: e0 beside g0, d0 beside c0.
def second(net)
  net.run("ip", "-n", net.names["g0"], "link", "add", "e0", "type", "veth", "peer", "name", "d0", "netns", net.names["c0"])
  net.run("ip", "-n", net.names["g0"], "addr", "add", "10.78.0.1/24", "dev", "e0")
  net.run("ip", "-n", net.names["c0"], "addr", "add", "10.78.0.2/24", "dev", "d0")
  net.run("ip", "-n", net.names["g0"], "link", "set", "e0", "up")
  net.run("ip", "-n", net.names["c0"], "link", "set", "d0", "up")
end

test "both families, and only through that interface" do
  net = Net.new
  second(net)
  server = net.serve(bind: "tcp://%g0:8080")
  assert_equal ["listening on tcp://%g0:8080"], server.log.scan(/listening on \S+/)
  assert_equal %w[hi hi], [net.get, net.get(from: "fd77::2", to: Net::V6)]
  # Refused, not dropped: nobody listens there.
  assert_equal nil, net.get(from: "10.78.0.2", to: "10.78.0.1")
  # The other interface is another's to use.
  other = net.serve(bind: "tcp://%e0:8080")
  assert_equal ["hi", "hi"], [net.get(from: "10.78.0.2", to: "10.78.0.1"), net.get]
  other.stop
end

test "it follows the addresses" do
  net = Net.new(clients: %w[10.77.0.2/24 10.79.0.2/24 fd77::2/64 fd79::2/64])
  net.serve("-w", "2", bind: "tcp://%g0:8080")
  assert_equal nil, net.get(from: "10.79.0.2", to: "10.79.0.1", seconds: 0.5)
  net.address("g0", "10.79.0.1/24")
  net.address("g0", "fd79::1/64")
  net.run("ip", "-n", net.names["g0"], "addr", "del", "#{Net::V4}/24", "dev", "g0")
  assert_equal %w[hi hi], [net.get(from: "10.79.0.2", to: "10.79.0.1"), net.get(from: "fd79::2", to: "fd79::1")]
end

test "guarded: ours is what comes through it, without a tag" do
  net = Net.new(clients: [])
  second(net)
  server = net.serve("--attach", "g0", bind: "tcp://%g0:8080")
  net.send_frames("src=10.77.0.50 dst=10.77.0.1 dport=8080 flags=4", count: 3)
  net.send_frames("src=fd77::50 dst=fd77::1 dport=8080 flags=4", count: 4)
  net.send_frames("src=10.77.0.50 dst=10.77.0.1 dport=8080 flags=4 tags=100", count: 5)
  seen, ports = net.guard(server)
  assert_equal [7, 7, 5], [ports[8080]["packets"], seen["ours"], seen["other_port"]]
  server.stop
  server = net.serve("-b", "tcp://#{Net::V4}:8081", "--attach", "g0", bind: "tcp://%e0:8080")
  net.send_frames("src=10.77.0.50 dst=10.77.0.1 dport=8080 flags=4", count: 3)
  assert_equal [8081], net.guard(server)[1].keys
end

test "a new worker, one more, one less" do
  net = Net.new
  server = net.serve(bind: "tcp://%g0:8080")
  server.signal(:TTIN)
  eventually("two workers") { server.workers.size == 2 }
  Process.kill(:KILL, server.workers.first)
  eventually("another one") { server.log.include?("killed by signal 9") && server.workers.size == 2 }
  server.signal(:TTOU)
  eventually("one worker") { server.workers.size == 1 }
  eventually("it to serve") { net.get == "hi" }
  assert_equal "hi", net.get(from: "fd77::2", to: Net::V6)
end

test "what is wrong" do
  net = Net.new
  server = net.serve(bind: "tcp://%nope:8080", wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(/listen: --bind tcp:\/\/%nope:8080: No such device; no interface has that name/, server.log)
  %w[tcp://%:8080 tcp://%0123456789abcdef:8080 tcp://%a/b:8080].each do |uri|
    server = net.serve(bind: uri, wait: false)
    assert_equal 2, server.wait.exitstatus
    assert_match(%r{--bind #{Regexp.escape(uri)}: allowed is tcp://%IFACE:PORT}, server.log)
  end
  first = net.serve(bind: "tcp://%g0:8080")
  server = net.serve(bind: "tcp://%g0:8080", wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(/tcp:\/\/%g0:8080: Address already in use/, server.log)
  first.stop
end
