#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Who is denied and who is served: real clients from several addresses.

require_relative "netns"
require_relative "../procs/app"

CLIENTS = %w[10.77.0.2/24 10.77.0.3/24 10.77.0.4/24 fd77::2/64 fd77::3/64 fd77::4/64].freeze

# Which of the three are served: [false, true, false]
def served(net, to: Net::V4, port: Net::PORT)
  prefix = to.include?(":") ? "fd77::" : "10.77.0."
  [2, 3, 4].map { |n| Thread.new { net.get(from: "#{prefix}#{n}", to: to, port: port) == "hi" } }.map(&:value)
end

%w[native generic tcx clsact].each do |mode|
  test "three sources of IPv4 and of IPv6 (#{mode})", seconds: 20 do
    needs_mode(mode)
    net = Net.new(clients: CLIENTS)
    server = net.serve("-b", "tcp://[#{Net::V6}]:8080", "--attach", "g0", "--guard-mode", mode,
                       "--guard-deny", "10.77.0.0/24", "--guard-allow", "10.77.0.3",
                       "--guard-deny", "fd77::2", "--guard-allow", "fd77::/64", "--guard-deny", "fd77::4/126")
    assert_equal [false, true, false], served(net)
    assert_equal [false, true, false], served(net, to: Net::V6)
    dropped = net.guard(server)[1][8080]["dropped"]
    assert dropped["deny"] >= 4, dropped
    assert_equal 0, dropped["syn_rate"]
  end
end

test "only our port: beside it the denied are served" do
  net = Net.new(clients: CLIENTS)
  net.serve("--attach", "g0", "--guard-deny", "0.0.0.0/0", "--guard-deny", "::/0")
  net.serve("-b", "tcp://#{Net::V4}:8081", "-b", "tcp://[#{Net::V6}]:8080", bind: false)
  assert_equal [false] * 3, served(net)
  assert_equal [true] * 3, served(net, port: 8081)
  assert_equal [true] * 3, served(net, to: Net::V6)
end

test "from the config file", seconds: 30 do
  net = Net.new(clients: CLIENTS)
  config = <<~RUBY
    guard do
      attach "g0"
      deny "10.77.0.0/24", "fd77::/64"
      allow "10.77.0.4"
      syn_rate 1000
      syn_burst 2000
      syn_prefix_v4 24
      syn_prefix_v6 56
      mode :generic
    end
  RUBY
  server = serve("-w", "1", "--constant", "/=hi", "-C", "config.rb", files: { "config.rb" => config },
                 bind: "tcp://#{Net::V4}:8080", before: net.enter("g0"))
  assert_equal "generic", net.mode
  assert_equal [false, false, true], served(net)
  assert net.guard(server)[1][8080]["dropped"]["deny"].positive?
end

test "what a config file may not say" do
  needs("root")
  {
    "guard { deny \"10.0.0.1/8\" }" => /deny "10\.0\.0\.1\/8": a prefix whose other bits are 0/,
    "guard { syn_rate 0 }" => /syn_rate 0: SYNs per second from one source prefix, from 1 to 1000000, or off/,
    "guard { syn_prefix_v6 8 }" => /syn_prefix_v6 8: bits of an IPv6 address, from 16 to 128/,
    "guard { mode :xdp }" => /mode :xdp: auto, native/,
    "guard { denny \"10.0.0.0/8\" }" => /unknown setting denny: the nearest is deny in `guard do`/,
  }.each do |text, said|
    server = serve("-w", "1", "-C", "config.rb", files: { "config.rb" => text }, wait: false)
    assert_equal 2, server.wait.exitstatus
    assert_match(said, server.log)
  end
end
