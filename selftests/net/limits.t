#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Too many connections, too few descriptors, and what a long or an idle life leaves behind.

require_relative "client"

def serve(mode, *args, **how)
  server = Server.start("--io-uring", mode, "-w", 1, "--no-log-requests", "--constant", "/=hello\n", *args, **how)
  eventually("a worker") { server.log.include?("workers=1 ") && server.workers.size == 1 }
  server
end

# Connections in the kernel's queue of this port, which nobody has accepted.
def waiting(port)
  local = format(":%04X", port)
  File.foreach("/proc/net/tcp").sum do |line|
    fields = line.split
    fields[1].end_with?(local) && fields[3] == "0A" ? fields[4].split(":").last.hex : 0
  end
end

def nr_fds(pid)
  Dir.children("/proc/#{pid}/fd").size
end

# Descriptors that are not TCP connections.
def server_fds(pid)
  connections = File.foreach("/proc/net/tcp").map(&:split).reject { |f| f[3] == "0A" }.map { |f| f[9] }
  Dir.children("/proc/#{pid}/fd").count do |fd|
    link = File.readlink("/proc/#{pid}/fd/#{fd}") rescue next
    !connections.include?(link[/socket:\[(\d+)\]/, 1])
  end
end

# User and system time of a process, in clock ticks.
def cpu_ticks(pid)
  File.read("/proc/#{pid}/stat").sub(/.*\) /, "").split.values_at(11, 12).sum(&:to_i)
end

on_each_loop "the 11th connection of 10 waits, and is served when one goes" do |mode|
  server = serve(mode, "--max-connections", 10)
  clients = Array.new(10) { server.client }
  clients.each { |client| assert_equal 200, client.get.status }
  late = Array.new(3) { server.client.write("GET / HTTP/1.1\r\nHost: test\r\n\r\n") }
  eventually("three to wait") { waiting(server.port) == 3 }
  # The others are served meanwhile.
  clients.each { |client| assert_equal 200, client.get.status }
  assert_equal 3, waiting(server.port)
  refute late.any? { |client| client.socket.wait_readable(0) }
  late.each_with_index do |client, i|
    clients[i].close
    assert_equal "hello\n", client.answer.body
    assert_equal 2 - i, waiting(server.port)
  end
end

on_each_loop "at the limit, again and again" do |mode|
  server = serve(mode, "--max-connections", 2)
  200.times do |i|
    client = Client.new(server.connect)
    client.write("GET / HTTP/1.1\r\nHost: test\r\n#{"Connection: close\r\n" if i.even?}\r\n")
    assert_equal 200, client.answer.status
    client.close
  end
  many = Array.new(20) { server.client.write("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n") }
  many.each { |client| assert_equal "hello\n", client.answer.body }
end

on_each_loop "out of descriptors: waits without spinning, recovers", seconds: 20 do |mode|
  server = serve(mode, "--max-connections", 1000, rlimit_nofile: [60, 60])
  worker = server.workers.first
  first = server.client
  assert_equal 200, first.get.status
  many = Array.new(80) { server.client.write("GET / HTTP/1.1\r\nHost: test\r\n\r\n") }
  eventually("it to be said") { server.log.include?("accept failed: Too many open files") }
  # It sleeps between its tries: some switches, not thousands, and not none.
  before = process_status(worker, "voluntary_ctxt_switches")
  ticks = cpu_ticks(worker)
  sleep 1
  tries = process_status(worker, "voluntary_ctxt_switches") - before
  assert tries.between?(2, 100), "#{tries} wake-ups in a second"
  assert cpu_ticks(worker) - ticks <= 20, "#{cpu_ticks(worker) - ticks} ticks of CPU in a second"
  assert_equal 200, first.get.status
  assert waiting(server.port).positive?
  # In the order in which they came: each that goes makes room for another.
  many.each do |client|
    assert_equal "hello\n", client.answer.body
    client.close
  end
  assert_equal 200, server.client.get.status
end

# One connection of each kind, over and over.
class Mix
  REQUEST = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
  CLOSING = REQUEST.sub("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
  RESET = [1, 0].pack("ii")

  def initialize(server)
    @server = server
  end

  def run(count)
    count.times { |i| send(%i[close_asked kept cut_in_head reset_in_body refused silent uploaded pipelined][i % 8]) }
  end

  private

  def talk(bytes)
    @server.connect do |socket|
      socket.write(bytes)
      yield socket if block_given?
    end
  end

  def close_asked = talk(CLOSING, &:read)
  def kept = talk(REQUEST) { |s| s.readpartial(1000); s.write(REQUEST); s.readpartial(1000) }
  def cut_in_head = talk("GET / HTTP/1.1\r\nHo")
  def reset_in_body = talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1") { |s| s.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, RESET) }
  def refused = talk("nonsense\r\n\r\n", &:read)
  def silent = talk("")
  def uploaded = talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n#{"x" * 5000}", &:read)
  def pipelined = talk(REQUEST * 9 + CLOSING, &:read)
end

on_each_loop "20,000 connections of all kinds leave nothing behind", seconds: 100 do |mode|
  needs("plain")
  server = serve(mode)
  worker = server.workers.first
  mix = Mix.new(server)
  mix.run(4000)
  eventually("the connections to be gone", seconds: 40) { nr_fds(worker) == server_fds(worker) }
  fds = nr_fds(worker)
  memory = process_status(worker, "VmRSS")
  mix.run(16_000)
  eventually("the connections to be gone", seconds: 40) { nr_fds(worker) == fds }
  grown = process_status(worker, "VmRSS") - memory
  Tap.comment("#{fds} descriptors, #{memory} KiB, #{grown} more at the end")
  assert grown <= 256, "#{grown} KiB more"
  assert_equal [worker], server.workers
end

on_each_loop "1,000 idle connections: memory" do |mode|
  needs("plain")
  server = serve(mode, "--idle-keepalive", 60)
  worker = server.workers.first
  # io_uring goes through its buffers in turn: 4 MiB, which are there once.
  warm = Array.new(100) { server.client.tap { |client| 12.times { client.get } } }
  memory = process_status(worker, "VmRSS")
  many = Array.new(1000) { server.client.tap(&:get) }
  grown = process_status(worker, "VmRSS") - memory
  Tap.comment("#{grown} KiB for 1,000 connections")
  assert grown <= 1000 + 256, "#{grown} KiB"
  (warm + many).each(&:close)
end

on_each_loop "an idle server sleeps", seconds: 30 do |mode|
  server = serve(mode, "--idle-keepalive", 60)
  # A connection at rest has one timer, a minute away.
  client = server.client
  assert_equal 200, client.get.status
  pids = server.workers + [server.pid]
  switches = -> { pids.map { |pid| process_status(pid, "voluntary_ctxt_switches") } }
  # What follows the start comes to its end.
  before = nil
  eventually("a second of peace", seconds: 15) do
    before = switches.call
    sleep 1
    switches.call == before
  end
  sleep 2
  assert_equal before, switches.call
  assert_equal 200, client.get.status
end
