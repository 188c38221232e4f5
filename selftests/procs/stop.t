#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The graceful stop: whatever has been begun is finished, and then everybody goes.

require_relative "app"

def running_handler(server, code)
  client = server.ask("File.write('running', ''); #{code}")
  eventually("the handler") { File.exist?(File.join(server.folder, "running")) }
  client
end

def stopping(server)
  eventually("the stop") { server.log.match?(/supervisor: stopping/) && !server.listening? }
end

# Lines that hooks and at_exit handlers have left: [what, pid, index].
def history(server)
  server.read("history").lines.map(&:split)
end

HISTORY = {
  "note.rb" => "def note(*words) = File.open('history', 'a') { |f| f.puts([words.first, Process.pid, *words.drop(1)].join(' ')) }",
  "config.ru" => "require_relative 'note'\nat_exit { note('at_exit') }\nnote('load')\n#{EVAL}",
  "c.rb" => <<~'RUBY',
    require_relative "note"
    before_fork { |*args| note("before_fork", args.size) }
    before_fork { note("before_fork_2") }
    on_worker_boot { |index| note("boot", index) }
    on_worker_shutdown { |index| note("shutdown", index) }
  RUBY
}.freeze

on_threads "a request in a handler is answered whole, new ones are refused" do |threads|
  server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1)
  busy = running_handler(server, "sleep 1; 'whole ' * 100_000")
  server.signal(:TERM)
  stopping(server)
  assert_raise(Errno::ECONNREFUSED) { server.connect }
  answer = busy.answer
  assert_equal "whole " * 100_000, answer.body
  # A handler on the I/O thread has answered before that thread learns of the stop.
  assert_equal threads.positive?, answer.last?
  assert busy.closed?
  assert_equal 0, server.wait.exitstatus
  refute_match(/warn|error|killed/, server.log)
  assert_nothing_remains(server)
end

on_threads "an idle connection lives on; its next answer is its last" do |threads|
  server = serve("-w", 1, "-t", threads, "--idle-keepalive", 4)
  used, unused = Array.new(2) { server.ask("1").tap { |client| refute client.answer.last? } }
  fresh = server.client
  server.signal(:TERM)
  stopping(server)
  # Not closed by the stop: there would be something to read.
  assert_equal nil, IO.select([used.socket, unused.socket], nil, nil, 0.3)
  answer = used.ask("'still here'").answer
  assert_equal "still here", answer.body
  assert answer.last?
  assert used.closed?
  assert unused.closed?
  assert fresh.closed?
  assert_equal 0, server.wait.exitstatus
  assert_nothing_remains(server)
end

[[5, 12], [1, 5], [0, 5]].each do |threads, nr|
  test "requests that wait for a busy thread are answered (threads #{threads})", seconds: 20 do
    server = serve("-w", 1, "-t", threads, "--idle-keepalive", 1)
    busy = running_handler(server, "sleep 0.3; 'first'")
    # Some on connections that are known, some on new ones; one in two pieces.
    waiting = Array.new(nr) { |i| server.ask("sleep 0.1; #{i} * 3") }
    slow = server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n'in ")
    sleep 0.05
    server.signal(:TERM)
    stopping(server)
    slow.write("2'")
    assert_equal "first", busy.answer.body
    waiting.each_with_index { |client, i| assert_equal((i * 3).to_s, client.answer.body) }
    assert_equal "in 2", slow.answer.body
    server.clients_go
    assert_equal 0, server.wait.exitstatus
    assert_nothing_remains(server)
  end
end

test "connections that no worker has accepted yet are served" do
  server = serve("-w", 1, "--idle-keepalive", 1)
  worker = server.worker
  stand_still(worker)
  waiting = Array.new(10) { |i| server.ask("#{i} * 2") }
  silent = server.client
  server.signal(:TERM)
  eventually("the stop") { server.log.match?(/supervisor: stopping/) }
  Process.kill(:CONT, worker)
  waiting.each_with_index { |client, i| assert_equal((i * 2).to_s, client.answer&.body) }
  waiting.each(&:close)
  # It says nothing, and is not waited for as long as before.
  assert silent.closed?
  assert_equal 0, server.wait.exitstatus
end

test "a client that reads slowly gets all of it", seconds: 20 do
  server = serve("-w", 1, "--idle-keepalive", 1)
  client = server.ask("'x' * 30_000_000")
  sleep 0.2
  server.signal(:TERM)
  stopping(server)
  assert_equal 30_000_000, client.answer.body.bytesize
  assert_equal 0, server.wait.exitstatus
end

on_threads "graceful_timeout is over: it ends all the same" do |threads|
  server = serve("-w", 1, "-t", threads, "--graceful-timeout", 1)
  busy = running_handler(server, "begin; sleep 60; ensure; File.write('ensured', ''); end")
  server.signal(:TERM)
  assert busy.closed?
  server.wait(seconds: 12)
  # On the I/O thread itself a handler sees nothing of it and has to be killed.
  assert_match(threads.zero? ? /killing a worker that does not stop worker=0/ : /graceful_timeout is over, cutting connections worker=0 connections=1/, server.log)
  assert_equal threads.positive?, File.exist?(File.join(server.folder, "ensured"))
  assert_nothing_remains(server)
end

test "a worker that cannot even be interrupted is killed", seconds: 20 do
  server = serve("-w", 1, "--graceful-timeout", 1)
  # Holds Ruby's lock for ever.
  busy = running_handler(server, "require 'fiddle'; Fiddle::Function.new(Fiddle.dlopen(nil)['pause'], [], 4, need_gvl: true).call")
  server.signal(:TERM)
  assert busy.closed?
  server.wait(seconds: 12)
  assert_match(/killing a worker that does not stop worker=0/, server.log)
  assert_nothing_remains(server)
end

on_threads "QUIT is at once" do |threads|
  server = serve("-w", 2, "-t", threads)
  idle = server.ask("1").tap(&:answer)
  busy = running_handler(server, "sleep 60") unless threads.zero?
  server.signal(:QUIT)
  assert idle.closed?
  assert busy.closed? if busy
  assert_equal 0, server.wait(seconds: 4).exitstatus
  assert_match(/supervisor: stopping at once/, server.log)
  assert_nothing_remains(server)
end

test "QUIT cuts a graceful stop short, a second TERM does not" do
  server = serve("-w", 1)
  busy = running_handler(server, "sleep 60")
  server.signal(:TERM)
  stopping(server)
  server.signal(:TERM)
  server.signal(:INT)
  sleep 0.3
  assert server.alive?
  assert_equal nil, IO.select([busy.socket], nil, nil, 0)
  server.signal(:QUIT)
  assert busy.closed?
  server.wait(seconds: 4)
  assert_nothing_remains(server)
end

on_threads "hooks and at_exit handlers run once each, in the right process and order" do |threads|
  server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1, "-C", "c.rb", files: HISTORY)
  mold, workers = server.mold.to_s, server.workers_by_index.transform_values(&:to_s)
  assert_equal [["load", mold], ["before_fork", mold, "0"], ["before_fork_2", mold]], history(server).first(3)
  assert_equal [["boot", workers[0], "0"], ["boot", workers[1], "1"]], history(server).drop(3).sort
  # A replacement boots; one that was killed had no time to say anything.
  sleep 1.1
  Process.kill(:KILL, workers[1].to_i)
  workers[1] = server.other_worker(workers[1].to_i, 1).to_s
  assert_equal ["boot", workers[1], "1"], history(server).last
  busy = running_handler(server, "sleep 0.3; File.open('history', 'a') { |f| f.puts('handler') }; 'done'")
  before = history(server).size
  server.signal(:TERM)
  assert_equal "done", busy.answer.body
  busy.close
  assert_equal 0, server.wait.exitstatus
  rest = history(server).drop(before)
  assert_equal [["at_exit", mold], ["at_exit", workers[0]], ["at_exit", workers[1]], ["handler"],
                ["shutdown", workers[0], "0"], ["shutdown", workers[1], "1"]].sort, rest.sort
  workers.each { |index, pid| assert rest.index(["shutdown", pid, index.to_s]) < rest.index(["at_exit", pid]), rest.inspect }
  # Whose handler it was: before its shutdown.
  assert rest.index(["handler"]) < [0, 1].map { |i| rest.index(["shutdown", workers[i], i.to_s]) }.max
end

on_threads "hooks run at QUIT, too" do |threads|
  server = serve("-w", 2, "-t", threads, "-C", "c.rb", files: HISTORY)
  assert_equal 0, server.stop(:QUIT).exitstatus
  assert_equal({ "load" => 1, "before_fork" => 1, "before_fork_2" => 1, "boot" => 2, "shutdown" => 2, "at_exit" => 3 }, history(server).map(&:first).tally)
end

test "with --no-preload at_exit is the workers' alone" do
  server = serve("-w", 2, "--no-preload", "-C", "c.rb", files: HISTORY)
  workers = server.workers_by_index.values.map(&:to_s).sort
  assert_equal 0, server.stop.exitstatus
  %w[load boot shutdown at_exit].each do |name|
    assert_equal workers, history(server).select { |what,| what == name }.map { |_, pid| pid }.sort, name
  end
end

test "a hook that fails at shutdown is said and changes nothing" do
  server = serve("-w", 1, "-C", "c.rb", files: { "c.rb" => "\non_worker_shutdown { raise 'no' }\non_worker_shutdown { File.write('second', '') }" })
  assert_equal 0, server.stop.exitstatus
  assert_match(/c\.rb:2:.*: no \(RuntimeError\)/, server.log)
  assert File.exist?(File.join(server.folder, "second"))
end

test "a before_fork hook that fails stops the start" do
  server = serve("-w", 1, "-C", "c.rb", wait: false, files: { "c.rb" => "\nbefore_fork { raise 'no' }\n" })
  assert_equal 1, server.wait.exitstatus
  assert_match(/c\.rb:2:.*: no \(RuntimeError\)/, server.log)
  assert_nothing_remains(server)
end

test "stopped within the start: TERM while workers boot" do
  server = serve("-w", 2, "-C", "c.rb", wait: false, files: { "c.rb" => "on_worker_boot { |i| File.write(\"boot\#{i}\", ''); sleep 0.5 }" })
  eventually("the boot") { File.exist?(File.join(server.folder, "boot0")) }
  server.signal(:TERM)
  assert_equal 0, server.wait.exitstatus
  assert_nothing_remains(server)
end
