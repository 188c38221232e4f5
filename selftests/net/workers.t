#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The supervisor and its workers: who serves, and what happens when one of them dies.

require_relative "client"
require "json"

def serve(mode, workers, *args, **how)
  server = Server.start("--io-uring", mode, "-w", workers, "--constant", "/=hello\n", *args, **how)
  eventually("#{workers} workers") { server.log.include?("workers=#{workers} ") && server.workers.size == workers }
  server
end

# Which workers answered, by the access log.
def who_served(server)
  server.log.lines.grep(/\A\{/).map { |line| JSON.parse(line)["worker"] }
end

# A connection that is in the kernel's queue while no worker runs; its request is on its way.
def ask(server)
  server.client.write("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
end

# Sockets of these processes that are connections, not listeners.
def accepted(pids)
  states = {}
  File.foreach("/proc/net/tcp") { |line| f = line.split; states[f[9]] = f[3] }
  pids.sum do |pid|
    Dir["/proc/#{pid}/fd/*"].count { |fd| states[(File.readlink(fd) rescue "")[/socket:\[(\d+)\]/, 1]] == "01" }
  end
end

def gone(pids)
  eventually("#{pids.join(" ")} to end") { pids.none? { |pid| running?(pid) } }
end

on_each_loop "four workers: each gets its share" do |mode|
  server = serve(mode, 4)
  64.times { server.client.get("/", "Connection: close") }
  eventually("64 lines") { who_served(server).size == 64 }
  assert_equal [0, 1, 2, 3], who_served(server).uniq.sort
end

on_each_loop "a worker that is killed is replaced, what waited for it is answered" do |mode|
  server = serve(mode, 1)
  old = server.workers.first
  assert_equal 200, server.client.get.status
  stand_still(old)
  waiting = Array.new(5) { ask(server) }
  Process.kill(:KILL, old)
  waiting.each { |client| assert_equal "hello\n", client.answer.body }
  assert_equal 1, server.workers.size
  refute server.workers.include?(old)
  assert_match(/worker killed by signal 9 .*worker=0 pid=#{old}/, server.log)
  assert_equal 200, server.client.get.status
end

on_each_loop "a worker that dies again and again is replaced each time" do |mode|
  server = serve(mode, 2)
  5.times do
    old = server.workers
    Process.kill(:KILL, old.first)
    eventually("a new worker") { (server.workers - old).size == 1 && server.workers.size == 2 }
    # It serves: as many connections as make sure that each worker gets one.
    30.times { assert_equal 200, server.client.get("/", "Connection: close").status }
  end
end

# The kernel takes the ring of a dead process apart in its own time; until then it still waits for connections.
on_each_loop "eight workers are killed at once: each connection to their successors is answered", seconds: 30 do |mode|
  server = serve(mode, 8, "--no-log-requests")
  3.times do
    # One that has served for a second is replaced without delay.
    sleep 1.1
    old = server.workers
    old.each { |pid| Process.kill(:KILL, pid) }
    eventually("new workers") { (server.workers - old).size == 8 }
    60.times { assert_equal 200, server.client.get("/", "Connection: close").status }
  end
end

on_each_loop "the supervisor is killed: workers finish what they have and go", seconds: 20 do |mode|
  server = serve(mode, 2, "--idle-keepalive", 1)
  workers = server.workers
  clients = Array.new(8) { server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345") }
  eventually("all to be accepted") { accepted(workers) >= 8 }
  server.stop(:KILL)
  eventually("the listeners to be closed") { Server.unused?(server.port) }
  clients.each do |client|
    client.write("67890")
    answer = client.answer
    assert_equal 405, answer.status
    assert answer.last?
    assert client.closed?
  end
  gone(workers)
end

on_each_loop "the supervisor is killed: idle workers go, none stays behind" do |mode|
  server = serve(mode, 3)
  workers = server.workers
  server.stop(:KILL)
  gone(workers)
  assert_raise(Errno::ECONNREFUSED) { server.connect }
end

on_each_loop "one worker more, one less" do |mode|
  server = serve(mode, 1)
  first = server.workers
  server.signal(:TTIN)
  eventually("two workers") { server.workers.size == 2 }
  2.times { server.signal(:TTIN); sleep 0.05 }
  eventually("four workers") { server.workers.size == 4 }
  assert_include server.log, "workers=4"
  60.times { server.client.get("/", "Connection: close") }
  eventually("all four to serve") { who_served(server).uniq.sort == [0, 1, 2, 3] }
  3.times { server.signal(:TTOU); sleep 0.05 }
  eventually("one worker") { server.workers == first }
  # The last one stays.
  server.signal(:TTOU)
  20.times { assert_equal 200, server.client.get("/", "Connection: close").status }
  assert_equal first, server.workers
  # Up again into a slot that had been given up.
  server.signal(:TTIN)
  eventually("two workers") { server.workers.size == 2 }
  40.times { server.client.get("/", "Connection: close") }
end

on_each_loop "a worker that goes answers what waits for it" do |mode|
  server = serve(mode, 2, "--idle-keepalive", 1)
  server.workers.each { |pid| stand_still(pid) }
  waiting = Array.new(20) { ask(server) }
  server.signal(:TTOU)
  eventually("the word") { server.log.include?("workers=1") }
  server.workers.each { |pid| Process.kill(:CONT, pid) }
  waiting.each do |client|
    assert_equal "hello\n", client.answer.body
    client.close
  end
  eventually("one worker") { server.workers.size == 1 }
end

test "no worker outlives a case: the harness sees a clean stop" do
  server = serve("off", 3)
  workers = server.workers
  assert server.stop.success?
  gone(workers)
end
