#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Requests that wait behind a handler that does not end are served by other workers, each once.

require_relative "app"
require "json"

NR_CLIENTS = 40

# Connections that workers have taken over from others, as their page says.
def moves(server)
  status = server.client.get("/-/stats", "Authorization: Bearer secret", "Connection: close")
  JSON.parse(status.body).fetch("workers").sum { |w| w.fetch("moved_in") }
end

def balanced(*args, workers: 4, threads: 1, **how)
  serve("-w", workers, "-t", threads, "--idle-keepalive", 60, "--admin-token", "secret", *args, **how)
end

# Clients with a connection each, by the worker that has it.
def clients_by_pid(server, nr = NR_CLIENTS)
  Array.new(nr) { server.client }.group_by { |client| client.ask("Process.pid").answer.body.to_i }
end

# A handler that ends only when the test says so; its worker, of which it is the only thread, and its client.
def hang(server, how = "sleep 0.01", client: server.client)
  client.ask("File.write('hangs', Process.pid.to_s); #{how} until File.exist?('go'); Process.pid")
  pid = eventually("the handler") { (text = server.read("hangs")) && !text.empty? && text.to_i }
  [pid, client]
end

def let_go(server, pid, client)
  server.write("go")
  assert_equal pid.to_s, client.answer.body
end

# When nobody keeps a connection open.
def assert_stops(server, clients)
  clients.each(&:close)
  assert_equal 0, server.stop.exitstatus
end

{ "sleeps" => "sleep 0.01", "computes" => "1 + 1" }.each do |name, how|
  test "a handler that #{name} holds up nobody else's request" do
    server = balanced
    clients = clients_by_pid(server)
    pid, hung = hang(server, how)
    held = clients.fetch(pid)
    # All at once, on all connections, the hung worker's too; and again.
    2.times do
      clients.each_value { |all| all.each { |client| client.ask("Process.pid") } }
      answers = clients.flat_map { |_, all| all.map { |client| client.answer.body.to_i } }
      assert_equal NR_CLIENTS, answers.size
      refute answers.include?(pid), "the one that hangs has answered"
    end
    refute File.exist?(File.join(server.folder, "go"))
    let_go(server, pid, hung)
    # It serves again what comes to it.
    assert_equal pid.to_s, hung.ask("Process.pid").answer.body
    assert held.size.positive?
    assert_stops(server, clients.values.flatten << hung)
  end
end

test "idle connections leave before they ask" do
  server = balanced(workers: 2)
  clients = clients_by_pid(server, 20)
  pid, hung = hang(server)
  index = server.workers_by_index.key(pid)
  # Their descriptors are gone there: but for the one that hangs.
  eventually("them to leave") { Procs.title(pid)[/(\d+) connections?\]/, 1].to_i == 1 }
  let_go(server, pid, hung)
  clients.fetch(pid).each { |client| refute pid == client.ask("Process.pid").answer.body.to_i }
  assert_equal pid, server.worker(index)
end

test "what is in several pieces, or several requests, arrives as it was" do
  server = balanced(workers: 2)
  clients = clients_by_pid(server, 20)
  pid, hung = hang(server)
  clients.fetch(pid).each_with_index do |client, i|
    code = "env['rack.input'].rewind; [Process.pid, env['HTTP_X_I'], env['rack.input'].read.bytesize].join(' ')"
    client.ask(code, "X-I: #{i}").ask("#{code} # #{'x' * 3000}", "X-I: #{i}.2")
    client.write("POST / HTTP/1.1\r\nHost: te")
  end
  clients.fetch(pid).each_with_index do |client, i|
    a, b = client.answer.body, client.answer.body
    client.write("st\r\nContent-Length: 2\r\n\r\n40")
    assert_match(/\A\d+ #{i} \d+\z/, a)
    assert_match(/\A\d+ #{i}\.2 3\d\d\d\z/, b)
    refute pid == a.to_i
    assert_equal a.to_i, b.to_i
    assert_equal "40", client.answer.body
  end
  let_go(server, pid, hung)
end

test "every request is run once, whatever moves", seconds: 60 do
  server = balanced
  names = Queue.new
  clients = Array.new(24) { server.client }
  threads = clients.each_with_index.map do |client, t|
    Thread.new do
      25.times do |i|
        name = "#{t}.#{i}"
        # Some hold their worker up, so that there is always somebody to leave.
        client.ask("File.write('runs', '#{name}\n', mode: 'a'); sleep(#{i % 8 == t % 8 ? 0.15 : 0.001}); '#{name}'")
        assert_equal name, client.answer.body
        names << name
      end
    end
  end
  threads.each(&:join)
  asked = Array.new(names.size) { names.pop }
  assert_equal 24 * 25, asked.size
  assert_equal asked.sort, server.read("runs").lines(chomp: true).sort
  assert moves(server).positive?, "nothing has moved"
  page = server.client.get("/-/metrics", "Authorization: Bearer secret", "Connection: close").body
  given, taken = %w[out in].map { |way| page.scan(/^hyperion_moved_connections_total\{worker="\d",direction="#{way}"\} (\d+)$/).sum { |n,| n.to_i } }
  assert_equal [moves(server)] * 2, [given, taken]
  assert_stops(server, clients)
end


# The connections that this worker has, as its title says within a second.
def nr_connections(pid)
  Procs.title(pid)[/(\d+) connections?\]/, 1].to_i
end

test "what lies in the inbox of a worker that is killed is served by the next", seconds: 40 do
  server = balanced(workers: 2)
  clients = clients_by_pid(server, 20)
  sleep 1.1 # so that none counts as one that dies as soon as it lives
  pid = server.worker(0)
  other = server.worker(1)
  stand_still(other)
  first, *held = clients.fetch(pid)
  _, hung = hang(server, client: first)
  # It looks idle, so it is given all of them.
  held.each_with_index { |client, i| client.ask("File.write('runs', '#{i}\n', mode: 'a'); Process.pid") }
  eventually("them to leave") { nr_connections(pid) == 1 }
  assert_equal "", server.read("runs")
  Process.kill(:KILL, other)
  new = server.other_worker(other, 1)
  assert_equal [new], held.map { |client| client.answer.body.to_i }.uniq
  assert_equal held.size, server.read("runs").lines.uniq.size
  assert_equal held.size, server.read("runs").lines.size
  let_go(server, pid, hung)
end

test "whoever is left serves what a worker had that is not replaced", seconds: 40 do
  server = balanced(workers: 3)
  clients = clients_by_pid(server, 30)
  pid = server.worker(0)
  # The last place is the one that goes with TTOU.
  others = [server.worker(1), last = server.worker(2)]
  others.each { |other| stand_still(other) }
  first, *held = clients.fetch(pid)
  _, hung = hang(server, client: first)
  held.each { |client| client.ask("Process.pid") }
  eventually("them to leave") { nr_connections(pid) == 1 }
  server.signal(:TTOU)
  eventually("the supervisor") { server.log.include?("workers=2") }
  Process.kill(:KILL, last)
  eventually("its end") { !Procs.alive?(last) }
  Process.kill(:CONT, others.first)
  assert_equal [others.first], held.map { |client| client.answer.body.to_i }.uniq
  let_go(server, pid, hung)
end

test "a stop while connections move: every request that was sent is answered", seconds: 60 do
  3.times do
    server = balanced
    clients = clients_by_pid(server)
    pid, hung = hang(server)
    clients.each_value { |all| all.each_with_index { |client, i| client.ask("File.write('runs', '#{client.object_id}\n', mode: 'a'); sleep 0.002; #{i}") } }
    sleep rand * 0.03
    server.signal(:TERM)
    server.write("go")
    assert_equal pid.to_s, hung.answer.body
    clients.each_value { |all| all.each_with_index { |client, i| assert_equal i.to_s, client.answer.body } }
    assert_equal NR_CLIENTS, server.read("runs").lines.uniq.size
    assert_equal NR_CLIENTS, server.read("runs").lines.size
    # What was answered before the signal came is kept open.
    [*clients.values.flatten, hung].each(&:close)
    assert_equal 0, server.wait.exitstatus
    refute_match(/lost|error/, server.log)
    File.delete(File.join(server.folder, "go"))
  end
end

test "a worker that gave its connections away may die" do
  server = balanced(workers: 2)
  clients = clients_by_pid(server, 20)
  pid, hung = hang(server)
  clients.fetch(pid).each { |client| client.ask("sleep 0.001; Process.pid") }
  eventually("them to leave") { nr_connections(pid) == 1 }
  Process.kill(:KILL, pid)
  clients.fetch(pid).each { |client| refute pid == client.answer.body.to_i }
  assert hung.closed?
end

test "--no-rebalance, and the config file's: all wait where they are", seconds: 40 do
  [["--no-rebalance"], ["-C", "c.rb"]].each do |how|
    server = balanced(*how, workers: 2, files: { "c.rb" => "rebalance false\n" })
    clients = clients_by_pid(server, 20)
    pid, hung = hang(server)
    clients.each_value { |all| all.each { |client| client.ask("Process.pid") } }
    (clients.keys - [pid]).each { |other| clients[other].each { |client| assert_equal other.to_s, client.answer.body } }
    sleep 0.3
    assert_equal nil, IO.select(clients[pid].map(&:socket), nil, nil, 0)
    assert_equal 0, moves(server)
    let_go(server, pid, hung)
    clients[pid].each { |client| assert_equal pid.to_s, client.answer.body }
  end
end

test "one worker, then a second one: now there is somebody" do
  server = balanced(workers: 1)
  clients = clients_by_pid(server, 10)
  pid, hung = hang(server)
  clients[pid].each { |client| client.ask("Process.pid") }
  sleep 0.2
  assert_equal nil, IO.select(clients[pid].map(&:socket), nil, nil, 0)
  server.signal(:TTIN)
  second = eventually("the second") { server.worker(1) }
  assert_equal [second], clients[pid].map { |client| client.answer.body.to_i }.uniq
  let_go(server, pid, hung)
end

test "handlers on the I/O thread: nothing moves, everything is served" do
  server = balanced(threads: 0)
  clients = clients_by_pid(server)
  clients.each_value { |all| all.each { |client| client.ask("sleep 0.002; Process.pid") } }
  clients.each { |pid, all| all.each { |client| assert_equal pid.to_s, client.answer.body } }
  assert_equal 0, moves(server)
end
