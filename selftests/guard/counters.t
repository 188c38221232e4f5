#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What the guard counts is what was sent, in each of its modes.

require_relative "netns"

# [words for the sender, how many, what they are]
def frames(mode)
  v4 = "src=10.77.0.50 dst=10.77.0.1 dport=8080"
  v6 = "src=fd77::50 dst=fd77::1 dport=8080"
  # RST: nobody answers it, whatever it is about.
  tagged = %w[tcx clsact].include?(mode) ? "ours" : "too_deep"
  [
    ["#{v4} flags=4", 7, "ours"], ["#{v4} flags=2", 5, "ours"], ["#{v4} flags=4 options=40 payload=100", 3, "ours"],
    ["#{v6} flags=4", 11, "ours"], ["#{v6} flags=2", 4, "ours"], ["#{v6} flags=4 ext=0,60,43,51", 6, "ours"],
    ["#{v4} flags=4 tags=100", 9, "ours"], ["#{v6} flags=4 tags=100,200", 8, "ours"],
    ["#{v4} flags=4 more=1 payload=64", 2, "ours"], ["#{v4} offset=9 payload=64", 12, "fragment"],
    ["#{v6} flags=4 ext=44 more=1 payload=4", 3, "ours"], ["#{v6} ext=44 offset=3", 13, "fragment"],
    ["#{v4} tags=1,2,3 flags=4", 2, tagged], ["#{v6} ext=60,60,60,60,60,60,60,60 flags=4", 2, "too_deep"],
    ["#{v4} proto=17", 14, "not_tcp"], ["#{v6} proto=50", 15, "not_tcp"],
    ["#{v4} cut=30", 16, "truncated"], ["#{v6} cut=60", 17, "truncated"], ["#{v4} ethertype=0x86dd payload=40", 4, "malformed"],
    ["ethertype=0x88b5", 18, "not_ip"], ["src=10.77.0.50 dst=10.77.0.1 dport=9999 flags=4", 19, "other_port"],
    ["src=10.77.0.50 dst=10.77.0.99 dport=8080 flags=4", 20, "other_port"]
  ]
end

%w[native generic tcx clsact].each do |mode|
  test "counters are equal to what was sent (#{mode})", seconds: 30 do
    needs_mode(mode)
    net = Net.new(clients: [])
    # Its answers to the SYNs need nobody's help to leave.
    net.run("ip", "-n", net.names["g0"], "neigh", "add", "10.77.0.50", "lladdr", Net::MACS["c0"], "dev", "g0")
    net.run("ip", "-n", net.names["g0"], "neigh", "add", "fd77::50", "lladdr", Net::MACS["c0"], "dev", "g0")
    server = net.serve("-b", "tcp://[fd77::1]:8080", "--attach", "g0", "--guard-mode", mode)
    if net.inside("g0", "ip", "-details", "link", "show", "g0").include?("xdp")
      assert_equal mode, net.mode
    else
      assert_include %w[tcx clsact], mode
    end
    want = Hash.new(0)
    bytes = syns = 0
    frames(mode).each do |words, count, kind|
      length = net.send_frames(words, count: count)
      want[kind] += count
      next unless kind == "ours"

      bytes += count * length
      syns += count if words.include?("flags=2")
    end
    seen, ports = eventually("all to be counted") { net.guard(server).then { |all| all if all[0].values.sum >= want.values.sum } }
    assert_equal want.sort, seen.reject { |_, n| n.zero? }.sort
    assert_equal({ "port" => 8080, "packets" => want["ours"], "bytes" => bytes, "syns" => syns,
                   "dropped" => { "deny" => 0, "syn_rate" => 0 }, "dropped_bytes" => 0 }, ports[8080])
  end
end

test "each interface and port has a row of its own" do
  net = Net.new(clients: [])
  net.run("ip", "-n", net.names["g0"], "link", "add", "d0", "type", "veth", "peer", "name", "d1")
  net.run("ip", "-n", net.names["g0"], "link", "set", "d0", "up")
  server = net.serve("-b", "tcp://#{Net::V4}:8081", "-b", "tcp://[#{Net::V6}]:8081", "--attach", "d0", "--attach", "g0")
  net.send_frames("src=10.77.0.50 dst=10.77.0.1 dport=8080 flags=4", count: 2)
  net.send_frames("src=10.77.0.50 dst=10.77.0.1 dport=8081 flags=4", count: 3)
  net.send_frames("src=fd77::50 dst=fd77::1 dport=8081 flags=4", count: 5)
  out, = run_top(server.instance, Dir.tmpdir, "--once", "--json")
  rows = JSON.parse(out)["guard"].to_h { |row| [row["interface"], row["ports"].to_h { |p| [p["port"], p["packets"]] }] }
  assert_equal({ "d0" => { 8080 => 0, 8081 => 0 }, "g0" => { 8080 => 2, 8081 => 8 } }, rows)
  table, = run_top(server.instance, Dir.tmpdir, "--once")
  assert_match(/^ +g0 +8081 native/, table)
end

test "on the screen of hyperion-top: a line for each interface" do
  require "io/console"
  require "pty"
  net = Net.new
  server = net.serve("--attach", "g0")
  screen = +""
  PTY.spawn({ "TERM" => "xterm", "LC_ALL" => "C.UTF-8" }, TOP, "--instance", server.instance, "--interval", "0.1") do |out, keys, pid|
    keys.winsize = [24, 120]
    Tap.after { Process.kill(:KILL, pid) if File.exist?("/proc/#{pid}") }
    # In the first picture all of a line is written.
    eventually("its line: #{screen.inspect}") do
      more = out.read_nonblock(65_536, exception: false)
      screen << more if more.is_a?(String)
      screen.match?(%r{guard g0 native.* pkts/s .*denied/s .*over rate/s}m)
    end
    keys.write("q")
  end
end

test "in the pages of metrics, where the workers are another user's" do
  net = Net.new
  server = net.serve("--attach", "g0", "--guard-deny", "10.77.0.3", "--admin-token", "t", "--user", "nobody")
  net.send_frames("src=10.77.0.3 dst=10.77.0.1 dport=8080 flags=2", count: 6)
  curl = [*net.enter("c0"), "curl", "-s", "-H", "Authorization: Bearer t"]
  text, = Open3.capture2(*curl, "http://#{Net::V4}:8080/-/metrics")
  require_relative "../net/exposition"
  page = Exposition.new(text)
  of = { interface: "g0", port: "8080" }
  assert_equal [6.0, 0.0], [page["hyperion_guard_dropped_packets_total", **of, reason: "deny"],
                            page["hyperion_guard_dropped_packets_total", **of, reason: "syn_rate"]]
  guide = File.read(File.join(Server::ROOT, "docs/GUARD.md"))[/^## Metrics\n.*/m]
  assert_equal page.types.keys.grep(/guard/).sort, guide.scan(/hyperion_guard_[a-z_]+/).uniq.sort
  assert_equal 1.0, page["hyperion_guard_attached", interface: "g0", mode: "native"]
  assert page["hyperion_guard_packets_total", **of] > 6
  assert_equal 7.0, page["hyperion_guard_syns_total", **of]
  json, = Open3.capture2(*curl, "http://#{Net::V4}:8080/-/stats")
  row = JSON.parse(json)["guard"].first
  assert_equal ["g0", "native", 6], [row["interface"], row["mode"], row["ports"].first["dropped"]["deny"]]
  open_text, = Open3.capture2(*curl, "-H", "Accept: application/openmetrics-text", "http://#{Net::V4}:8080/-/metrics")
  Exposition.new(open_text, open: true)
end
