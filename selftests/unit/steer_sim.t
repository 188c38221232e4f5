#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# steer-sim: the same seed gives the same flow, and the policy does what it was chosen for.

require "open3"
require_relative "../harness/tap"

PROGRAM = File.join(ENV.fetch("HYPERION_BUILD", "build"), "steer-sim")

def run_sim(*args)
  out, err, status = Open3.capture3(PROGRAM, *args.map(&:to_s))
  [out, err, status.exitstatus]
end

# policy => { column => number }
def simulate(*args)
  out, err, status = run_sim(*args)
  assert_equal ["", 0], [err, status]
  head, *lines = out.lines.map { |line| line.gsub(/late /, "late_").split }
  lines.to_h { |name, *numbers| [name, head.drop(1).zip(numbers.map { |n| n == "-" ? nil : n.to_f }).to_h] }
end

test "the same seed, the same numbers; another one, others" do
  args = %w[--seconds 5 -t 3 --keep 0.3 --slow 0.01:50 --burn 2:500]
  assert_equal run_sim(*args), run_sim(*args)
  assert run_sim(*args) != run_sim(*args, "--seed", 2), "the seed changed nothing"
end

test "all policies meet the same connections" do
  results = simulate("--seconds", 10, "--wave", 5)
  assert_equal %w[hash pick-2 pick-2+ least+ steer], results.keys
  assert_equal 1, results.values.map { |r| r["conns"] }.uniq.size
end

test "equal workers get equal shares" do
  [1, 5].each do |threads|
    r = simulate("--seconds", 60, "-t", threads, "steer")["steer"]
    assert r["conns"] > 4000 && r["balance"] <= 1.1, "#{threads} threads: #{r}"
  end
end

test "nobody is sent to a worker that is stuck" do
  [%w[--sleep 3:2000], %w[--burn 3:2000], %w[--stop 3:2000], %w[-t 0 --sleep 3:2000],
   %w[-t 5 --burn 3:2000], %w[--sleep 3:2000 --late-claims]].each do |trouble|
    r = simulate("--seconds", 60, "--load", 0.3, *trouble, "hash", "steer")
    assert r["hash"]["troubled"] > 0.2, "#{trouble}: #{r}"
    assert r["steer"]["troubled"] < 0.005, "#{trouble}: #{r}"
  end
end

test "clients that are far away stall nobody" do
  r = simulate("--seconds", 300, "--rate", 50, "--rtt", 150_000, "steer")["steer"]
  assert r["stalled"] < r["conns"] * 0.02 && r["balance"] <= 1.1, r.to_s
end

# In simulated time, which is the same everywhere.
test "rows that tell late draw no herd that anybody waits for" do
  [%w[--turn 20000], %w[--keep 1 --requests 50 --turn 20000 --load 0.3], %w[--turn 5000 --load 0.8]].each do |args|
    r = simulate("--seconds", 300, *args, "hash", "steer")
    assert r["steer"]["p99"] <= r["hash"]["p99"] && r["steer"]["p99.9"] <= r["hash"]["p99.9"], "#{args}: #{r}"
    assert r["steer"]["open"] <= r["hash"]["open"], "#{args}: #{r}"
  end
end

test "what it does not take" do
  { %w[-w 0] => "-w 0: allowed is", %w[--sleep 3] => "--sleep 3: allowed is",
    %w[--load x] => "--load x: allowed is", %w[pick-0] => "POLICY pick-0: allowed is",
    %w[--plain 1] => "--plain 1: allowed is" }.each do |args, text|
    out, err, status = run_sim(*args)
    assert_equal ["", 2], [out, status]
    assert err.include?(text), err
  end
  out, err, status = run_sim("--help")
  assert_equal ["", 0], [err, status]
  assert out.start_with?("Usage: steer-sim"), out
end
