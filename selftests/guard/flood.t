#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A flood of SYNs from one prefix: TCP does not see what is over the rate, and a client of another
# prefix is served meanwhile. What a packet costs is said, not judged.

require_relative "netns"

COUNT = 200_000
RATE = 100
BURST = 50

# Counts what programs take while the block runs, and closes it again.
module ProgramTimes
  ENABLE_STATS = 32

  module_function

  def measured
    attr = [0].pack("L").ljust(144, "\0")
    io = IO.for_fd(Capabilities.quiet_syscall(Capabilities::SYS_BPF, ENABLE_STATS, Capabilities.address(attr), attr.size))
    yield
  ensure
    io&.close
  end

  # [ns, runs] of a program so far
  def of(id)
    row = JSON.parse(`#{tool} -j prog show id #{id}`)
    [row.fetch("run_time_ns", 0), row.fetch("run_cnt", 0)]
  end

  def tool
    %w[/usr/sbin/bpftool /sbin/bpftool].find { |path| File.exist?(path) } || "bpftool"
  end
end

# A client in c0 that asks again and again until its stdin is closed: [answers, errors]
CLIENT = <<~'RUBY'
  require "socket"
  good = bad = 0
  until IO.select([$stdin], nil, nil, 0.02)
    begin
      answer = Socket.tcp("10.77.0.1", 8080, connect_timeout: 3) do |s|
        s.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        s.read
      end
      answer.end_with?("hi") ? good += 1 : bad += 1
    rescue SystemCallError
      bad += 1
    end
  end
  puts "#{good} #{bad}"
RUBY

def program_id(net)
  JSON.parse(net.inside("g0", "ip", "-j", "-details", "link", "show", "g0")).first.dig("xdp", "prog", "id")
end

# ns per packet between two readings
def cost(from, to)
  format("%.0f ns per packet (%d of them)", (to[0] - from[0]).fdiv([to[1] - from[1], 1].max), to[1] - from[1])
end

%w[native generic].each do |mode|
  test "200,000 SYNs of one prefix beside a client of another (#{mode})", seconds: 90 do
    net = Net.new(clients: %w[10.77.0.2/24])
    # The clients' own kernel must not answer for the sources of the flood.
    net.run("ip", "-n", net.names["g0"], "route", "add", "10.99.0.0/24", "dev", "g0")
    server = net.serve("--attach", "g0", "--guard-mode", mode, "--guard-syn-rate", RATE, "--guard-syn-burst", BURST,
                       "--guard-syn-prefix-v4", 24)
    client = IO.popen([*net.enter("c0"), "ruby", "-e", CLIENT], "r+")
    eventually("the client to be served") { net.guard(server)[1][8080]["packets"] > 20 }
    id = program_id(net)
    times = []
    seconds = nil
    ProgramTimes.measured do
      times << ProgramTimes.of(id)
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      net.send_frames("src=10.99.0.1 hosts=200 dst=10.77.0.1 dport=8080 flags=2", count: COUNT)
      seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
      times << ProgramTimes.of(id)
    end
    client.close_write
    good, bad = client.read.split.map(&:to_i)
    client.close
    port = eventually("all to be counted") { net.guard(server)[1][8080].then { |p| p if p["syns"] >= COUNT } }
    passed = port["packets"] - port["dropped"].values.sum
    reached = net.tcp
    Tap.comment("#{mode}: dropped, mostly: #{cost(*times)}; #{good} requests beside it in #{seconds.round(1)} s")
    assert_equal [0, true], [bad, good > 5], "[errors, requests]"
    # Of the flood as many got through as the rate allows, and one for rounding; each client's SYN did.
    allowed = BURST + (RATE * (seconds + 1)).ceil + 1
    through = COUNT - port["dropped"]["syn_rate"]
    assert through.between?(BURST, allowed), "#{through} of the flood got through, #{allowed} were allowed"
    # TCP has seen what passed, and nothing else.
    assert_equal passed, reached["Tcp.InSegs"]
    assert_equal [0, 0], [port["dropped"]["deny"], reached["TcpExt.ListenDrops"]]
  end
end

test "what passes costs this" do
  net = Net.new(clients: %w[10.77.0.2/24])
  server = net.serve("--attach", "g0", "--guard-deny", "10.99.0.0/16", "--guard-syn-rate", RATE)
  id = program_id(net)
  ProgramTimes.measured do
    { "passed, of a connection" => "src=10.77.0.9 flags=4", "denied" => "src=10.99.0.1 flags=4" }.each do |what, words|
      from = ProgramTimes.of(id)
      net.send_frames("#{words} dst=10.77.0.1 dport=8080", count: 50_000)
      Tap.comment("#{what}: #{cost(from, ProgramTimes.of(id))}")
    end
  end
  port = net.guard(server)[1][8080]
  assert_equal [100_000, 50_000], [port["packets"], port["dropped"]["deny"]]
end
