#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Connections go round a worker whose handler takes long.

require_relative "app"

def serve_steered(*args)
  needs "bpf"
  server = serve("-w", 3, *args)
  server.eval("1")
  server
end

# A handler that lasts until the file is there. Its client.
def long_handler(server)
  client = server.ask("File.write('running', ''); sleep 0.01 until File.exist?('go_on'); 'done ' + Process.pid.to_s")
  eventually("the handler") { File.exist?(File.join(server.folder, "running")) }
  sleep 0.25 # 4 * STEER_OLD_NS: from then on it stands still, before that it only has much to do
  client
end

[0, 1].each do |threads|
  test "with threads #{threads} nobody waits behind a long handler", seconds: 30 do
    server = serve_steered("-t", threads)
    busy = long_handler(server)
    pids = Array.new(60) { server.ask("Process.pid") }.map { |client| client.answer.body }
    assert_equal 2, pids.uniq.size
    server.write("go_on")
    done = busy.answer.body
    refute pids.include?(done[/\d+/]), "#{done} had answered, too"
    eventually("it to be asked again") { server.eval("Process.pid") == done[/\d+/] }
  end
end

test "threads 0: what came to the worker just before its long handler goes to others", seconds: 30 do
  server = serve_steered("-t", 0)
  server.children.size # all are there
  pids = server.workers_by_index.values
  pids.each { |pid| stand_still(pid) }
  clients = Array.new(30) { server.ask("Process.pid") }
  first = server.ask("File.write('running', ''); sleep 0.01 until File.exist?('go_on'); 'done'")
  pids.each { |pid| Process.kill(:CONT, pid) }
  eventually("the handler") { File.exist?(File.join(server.folder, "running")) }
  late = Array.new(30) { server.ask("Process.pid") }
  # Some of them may be behind it on their worker, taken already.
  answered = eventually("the others") { late.all? { |client| client.socket.wait_readable(0) } }
  assert answered
  server.write("go_on")
  assert_equal "done", first.answer.body
  assert_equal 60, (clients + late).map { |client| client.answer.body }.grep(/\A\d+\z/).size
end

test "SIGSTOP beside a handler that runs: its client is answered when it goes on, others at once", seconds: 30 do
  server = serve_steered("-t", 2)
  busy = long_handler(server)
  pid = server.workers_by_index.values.find { |w| Procs.fds(w).size == server.workers_by_index.values.map { |x| Procs.fds(x).size }.max }
  stand_still(pid)
  answers = Array.new(60) { server.ask("Process.pid") }.map { |client| client.answer.body }
  assert_equal 60, answers.size
  refute answers.include?(pid.to_s)
  server.write("go_on")
  Process.kill(:CONT, pid)
  assert_equal "done", busy.answer.body[0, 4]
  eventually("it to be asked again") { server.eval("Process.pid") == pid.to_s }
end
