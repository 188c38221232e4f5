#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Who gets a new connection, and who what waited for one that died or hangs.

require_relative "top"

# Workers that are steered to, and the folder of hyperion-top.
def serve_steered(*args, workers: 4, **how)
  needs "bpf"
  skip "root: the server runs as nobody" if Server::MODE == "nobody"
  server, folder = serve_counted("-w", workers, "--constant", "/=x", "--constant", "/who=me", *args, **how)
  eventually("the start") { server.log.include?("hyperion-bpf ") }
  eventually("the workers") { top(server, folder)["workers"].count { |w| w["state"] == "serving" } == workers }
  assert_equal 1, top(server, folder)["steering"]["active"]
  [server, folder]
end

def workers_of(server, folder)
  top(server, folder)["workers"].sort_by { |w| w["worker"] }
end

def connections(server, folder)
  workers_of(server, folder).map { |w| w["connections"]["open"] }
end

# The rows once all that was sent is accepted.
def settled(server, folder, nr)
  eventually("#{nr} connections") { rows = workers_of(server, folder); rows if rows.sum { |w| w["connections"]["open"] } == nr }
end

def ask(server)
  server.client.write("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
end

# So many requests to each worker, and only the one that @stopped names has not taken them.
def queue_at(server, pids, stopped, each)
  pids.each { |pid| stand_still(pid) }
  waiting = Array.new(each * pids.size) { ask(server) }
  (pids - [stopped]).each { |pid| Process.kill(:CONT, pid) }
  waiting
end

def picked_by(rows, reason) = rows.sum { |w| w["picked_by"][reason] }

def steering(server, folder) = top(server, folder)["steering"]

def loop_of(mode) = ["--io-uring", mode]

{ "127.0.0.1" => "tcp://127.0.0.1:%d", "::1" => "tcp://[::1]:%d" }.each do |host, uri|
  test "4,000 connections over four workers are even (#{host})", seconds: 40 do
    port = Server.free_port
    server, folder = serve_steered("--idle-keepalive", 60, port: port, bind: format(uri, port))
    server.wait_until_listening
    sockets = []
    rows = nil
    # Not faster than they are accepted: a worker that is late on a busy machine gets less for the moment.
    40.times do |i|
      sockets += Array.new(100) { TCPSocket.new(host, port) }
      rows = settled(server, folder, 100 * (i + 1))
    end
    counts = rows.map { |w| w["connections"]["open"] }
    assert counts.max <= counts.min * 1.1, "they are #{counts}"
    assert_equal 4000, picked_by(rows, "load")
    assert_equal 4000, rows.sum { |w| w["picks"] }
    assert_equal 0, steering(server, folder)["unsteered"]
    sockets.each(&:close)
    settled(server, folder, 0)
  end
end

test "two addresses, and one that is shared: each on its own" do
  path = File.join(open_folder, "s")
  ports = [Server.free_port, Server.free_port]
  server, folder = serve_steered("-b", "tcp://[::1]:#{ports[1]}", "-b", "unix://#{path}", port: ports[0])
  sockets = []
  rows = nil
  # A worker that a busy machine does not let accept gets less for the moment.
  8.times do |i|
    sockets += [["127.0.0.1", 0], ["::1", 1]].flat_map { |host, n| Array.new(10) { TCPSocket.new(host, ports[n]) } }
    rows = settled(server, folder, 20 * (i + 1))
  end
  counts = rows.map { |w| w["connections"]["open"] }
  assert counts.min >= 32, "they are #{counts}"
  sockets += Array.new(20) { UNIXSocket.new(path).tap { |s| s.write("GET / HTTP/1.1\r\nHost: t\r\n\r\n") } }
  rows = settled(server, folder, 180)
  assert_equal 160, rows.sum { |w| w["picks"] }
  sockets.each(&:close)
end

on_each_loop "a worker is killed: what it had not taken is answered by the others", seconds: 30 do |mode|
  server, folder = serve_steered(*loop_of(mode))
  sleep 1.1 # so that none counts as one that dies as soon as it lives
  pids = workers_of(server, folder).map { |w| w["pid"] }
  3.times do |i|
    before = workers_of(server, folder)
    waiting = queue_at(server, before.map { |w| w["pid"] }, pids[i], 10)
    Process.kill(:KILL, pids[i])
    assert_equal [200] * 40, waiting.map { |client| client.answer.status }
    rows = workers_of(server, folder)
    queued = rows[i]["picks"] - before[i]["picks"]
    assert queued.positive?, "nothing waits for it" # how many depends on what each has kept
    assert_equal queued, picked_by(rows, "migrated") - picked_by(before, "migrated")
    assert_equal before[i]["picked_by"]["migrated"], rows[i]["picked_by"]["migrated"]
    eventually("another worker") { workers_of(server, folder)[i]["pid"] != pids[i] }
    assert_equal [i + 1, i + 1], steering(server, folder).values_at("shut", "back")
    # Its successor is sent connections again, and answers them.
    eventually("its state") { workers_of(server, folder)[i]["state"] == "serving" }
    now = workers_of(server, folder)[i]["picks"]
    assert_equal [200] * 40, Array.new(40) { ask(server) }.map { |client| client.answer.status }
    assert workers_of(server, folder)[i]["picks"] > now
  end
end

on_each_loop "a worker is killed as it waits: what comes in the moment after is answered by the others", seconds: 30 do |mode|
  server, folder = serve_steered(*loop_of(mode))
  sleep 1.1
  4.times do |i|
    pid = workers_of(server, folder)[i]["pid"]
    # From here on it can take nothing that has not been sent yet.
    Process.kill(:KILL, pid)
    waiting = Array.new(40) { ask(server) }
    assert_equal [200] * 40, waiting.map { |client| client.answer.status }
    eventually("another worker") { w = workers_of(server, folder)[i]; w["pid"] != pid && w["state"] == "serving" }
  end
end

on_each_loop "a worker stands still: nothing is lost, and it is sent nothing until it goes on", seconds: 30 do |mode|
  server, folder = serve_steered(*loop_of(mode))
  pid = server.workers[1]
  slot = workers_of(server, folder).index { |w| w["pid"] == pid }
  stand_still(pid)
  waiting = Array.new(40) { ask(server) }
  assert_equal [200] * 40, waiting.map { |client| client.answer.status }
  assert_match(/warn: supervisor: a worker hangs, others take what waits for it worker=#{slot} /, server.log)
  assert_equal [1, 0], steering(server, folder).values_at("shut", "back")
  picks = workers_of(server, folder)[slot]["picks"]
  assert_equal [200] * 60, Array.new(60) { ask(server) }.map { |client| client.answer.status }
  assert_equal picks, workers_of(server, folder)[slot]["picks"]
  Process.kill(:CONT, pid)
  eventually("it to be back") { steering(server, folder)["back"] == 1 }
  assert_match(/info: supervisor: a worker that hung goes on worker=#{slot}$/, server.log)
  eventually("a connection of its own") { ask(server).answer; workers_of(server, folder)[slot]["picks"] > picks }
  assert_equal [200] * 60, Array.new(60) { ask(server) }.map { |client| client.answer.status }
  assert_equal 4, server.workers.size
end

test "a worker that hangs with connections of its own keeps them", seconds: 20 do
  server, folder = serve_steered
  clients = Array.new(40) { server.client.tap(&:get) }
  stand_still(server.workers[2])
  clients.each { |client| client.write("GET / HTTP/1.1\r\nHost: t\r\n\r\n") }
  40.times { ask(server) }
  eventually("the hang to be seen") { steering(server, folder)["shut"] == 1 }
  Process.kill(:CONT, server.workers[2])
  assert_equal [200] * 40, clients.map { |client| client.answer.status }
end

test "all stand still: nobody is taken out, all is answered when they go on" do
  server, folder = serve_steered(workers: 2)
  server.workers.each { |pid| stand_still(pid) }
  waiting = Array.new(20) { ask(server) }
  sleep 0.5
  waiting += Array.new(20) { ask(server) }
  rows = workers_of(server, folder)
  assert_equal 0, steering(server, folder)["shut"]
  assert picked_by(rows, "stalled") >= 20, rows.inspect
  server.workers.each { |pid| Process.kill(:CONT, pid) }
  assert_equal [200] * 40, waiting.map { |client| client.answer.status }
end

test "the last one that accepts dies while another hangs: both queues are served", seconds: 20 do
  server, folder = serve_steered(workers: 2)
  sleep 1.1
  pids = workers_of(server, folder).map { |w| w["pid"] }
  stand_still(pids[0])
  waiting = Array.new(10) { ask(server) }
  eventually("the hang to be seen") { steering(server, folder)["shut"] == 1 }
  stand_still(pids[1])
  waiting += Array.new(10) { ask(server) }
  Process.kill(:KILL, pids[1])
  eventually("another worker") { workers_of(server, folder)[1]["pid"] != pids[1] }
  Process.kill(:CONT, pids[0])
  assert_equal [200] * 20, waiting.map { |client| client.answer.status }
end

test "TTOU: a worker that leaves is sent nothing, what waits for it is answered" do
  server, folder = serve_steered(workers: 2)
  server.signal(:TTIN)
  eventually("a third") { workers_of(server, folder).count { |w| w["state"] == "serving" } == 3 }
  pid = workers_of(server, folder)[2]["pid"]
  waiting = queue_at(server, workers_of(server, folder).map { |w| w["pid"] }, pid, 5)
  server.signal(:TTOU)
  eventually("the order") { server.log.lines.grep(/supervisor: workers=2$/).any? }
  picks = workers_of(server, folder).find { |w| w["worker"] == 2 }["picks"]
  assert_equal 5, picks
  waiting += Array.new(15) { ask(server) }
  assert_equal picks, workers_of(server, folder).find { |w| w["worker"] == 2 }["picks"]
  Process.kill(:CONT, pid)
  assert_equal [200] * 30, waiting.map { |client| client.answer.status }
end

test "TTIN: no more workers than can be steered to" do
  server, folder = serve_steered(workers: 1)
  20.times { server.signal(:TTIN); sleep 0.02 }
  eventually("the refusal") { server.log.include?("no more workers: connections could not be steered to one more workers=9") }
  eventually("nine") { workers_of(server, folder).count { |w| w["state"] == "serving" } == 9 }
end

# A SYN that nobody goes on with: its kernel answers ours with a reset.
def lone_syn(port, from)
  sum = lambda do |bytes|
    n = bytes.unpack("n*").sum
    n = (n & 0xffff) + (n >> 16) while n > 0xffff
    ~n & 0xffff
  end
  loopback = [127, 0, 0, 1].pack("C4")
  tcp = [from, port, rand(1 << 32), 0, 5 << 4, 2, 1024, 0, 0].pack("nnNNCCnnn")
  tcp[16, 2] = [sum.call(loopback + loopback + [6, tcp.bytesize].pack("nn") + tcp)].pack("n")
  raw = Socket.new(:INET, :RAW, Socket::IPPROTO_TCP)
  raw.send(tcp, 0, Socket.sockaddr_in(0, "127.0.0.1"))
  raw.close
end

test "what never becomes a connection does not weigh for ever", seconds: 20 do
  needs "root"
  server, folder = serve_steered(workers: 2)
  20.times { |i| lone_syn(server.port, 40_000 + i) }
  eventually("the picks") { workers_of(server, folder).sum { |w| w["picks"] } == 20 }
  unsettled = -> { workers_of(server, folder).map { |w| w["unsettled"] } }
  eventually("them to be forgotten", seconds: 10) { unsettled.call == [0, 0] }
  assert_equal [0, 0], workers_of(server, folder).map { |w| w["accepted"] }
  clients = Array.new(20) { server.client.tap(&:get) }
  assert_equal [10, 10], connections(server, folder)
  clients.each(&:close)
end

test "nothing of it stays: not after a stop, not after a kill", seconds: 20 do
  sysctls = -> { Dir["/proc/sys/net/ipv4/tcp_*"].select { |f| File.readable?(f) }.to_h { |f| [f, File.read(f)] }.except("/proc/sys/net/ipv4/tcp_fastopen_key") }
  before = sysctls.call
  server, folder = serve_steered
  40.times { ask(server) }
  assert_equal 0, server.stop.exitstatus
  refute File.exist?("/sys/fs/bpf/hyperion/#{server.instance}")
  server, = serve_steered
  Process.kill(:KILL, server.pid)
  server.wait
  again, folder = serve_steered("--instance", server.instance)
  clients = Array.new(40) { again.client.tap(&:get) }
  assert_equal [10] * 4, connections(again, folder)
  clients.each(&:close)
  assert_equal 0, again.stop.exitstatus
  refute File.exist?("/sys/fs/bpf/hyperion/#{again.instance}")
  assert_equal before, sysctls.call
end

test "--no-bpf: the hash picks, and nothing is said" do
  server, folder = serve_counted("--no-bpf", "-w", 2, "--constant", "/=x")
  assert_equal [200] * 40, Array.new(40) { ask(server) }.map { |client| client.answer.status }
  reading = top(server, folder)
  assert_equal({ "active" => 0, "unsteered" => 0, "shut" => 0, "back" => 0 }, reading["steering"])
  assert_equal [0, 0], reading["workers"].map { |w| w["picks"] }
  refute_match(/bpf/, server.log.gsub("hyperion-bpf", ""))
end

test "without the privilege: one line says what is lost" do
  needs "root"
  server, folder = serve_counted("-w", 2, "--constant", "/=x", nobody: true)
  assert_equal [200] * 40, Array.new(40) { ask(server) }.map { |client| client.answer.status }
  assert_equal 0, top(server, folder)["steering"]["active"]
  lines = server.log.lines.grep(/ bpf: /)
  assert_equal 1, lines.size, server.log
  assert_match(/info: bpf: cannot be used: .*; the kernel's hash picks the workers, the statistics are in shared memory in /, lines[0])
end
