#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Whoever dies is replaced, and nobody else notices.

require_relative "app"

# Children of the supervisor that have ended and that it has not waited for.
def zombies(server)
  server.children.select { |pid| Procs.state(pid) == "Z" }
end

def running_handler(server, code)
  client = server.ask("File.write('running', ''); #{code}")
  eventually("the handler") { File.exist?(File.join(server.folder, "running")) }
  client
end

on_threads "a worker that is killed is replaced at its place" do |threads|
  server = serve("-w", 2, "-t", threads)
  sleep 1.1 # so that none counts as one that dies as soon as it lives
  [1, 0].each do |index|
    old, other = server.worker(index), server.worker(1 - index)
    Process.kill(:KILL, old)
    new = server.other_worker(old, index)
    assert_equal server.pid.to_s, Procs.status(new, "PPid")
    assert_equal other, server.worker(1 - index)
    # The pid is the kernel's word.
    assert_match(/supervisor: worker killed by signal 9 \(Killed\) worker=#{index} pid=#{old}$/, server.log)
    # Fewer would do, if the kernel's hash were as one wishes.
    seen = Array.new(60) { server.eval("Process.pid").to_i }.uniq
    assert_include seen, new
  end
  assert_equal [], zombies(server)
end

test "what waits for a dead worker is answered by the next" do
  server = serve("-w", 1)
  server.eval("1")
  stand_still(server.worker)
  waiting = Array.new(10) { |i| server.ask("#{i} * 2") }
  Process.kill(:KILL, server.worker)
  assert_equal Array.new(10) { |i| (i * 2).to_s }, waiting.map { |client| client.answer.body }
end

on_threads "workers that end by themselves, in ways of Ruby's" do |threads|
  server = serve("-w", 1, "-t", threads)
  ["exit!(3)", "Process.kill(:KILL, Process.pid)", "Process.kill(:SEGV, Process.pid); sleep 5", "Process.abort"].each do |code|
    old = server.worker
    client = server.ask(code)
    if code == "Process.abort"
      assert_equal 500, client.answer.status
    else
      assert client.closed?, code
      server.other_worker(old)
    end
    assert_equal "2", server.eval("1 + 1")
  end
  assert_match(/supervisor: worker exited with status 3 worker=0/, server.log)
end

on_threads "exit and abort in a handler are answered, the worker goes on" do |threads|
  server = serve("-w", 1, "-t", threads)
  old = server.worker
  ["exit", "exit(2)", "abort('no')", "raise Exception, 'x'", "throw :x", "Thread.current.kill"].each do |code|
    client = server.ask(code)
    answer = client.answer
    assert answer, "#{code}: closed without an answer\n#{server.log}"
    assert_equal 500, answer.status, code
  end
  assert_equal old.to_s, server.eval("Process.pid")
end

test "orphans of the app are reaped without a word" do
  server = serve("-w", 1)
  before = eventually("all that a start says") { server.log[/.*Ruby \S+ serves .*\n/m] }
  pids = Array.new(5) do
    server.eval("r, w = IO.pipe; Process.wait(fork { fork { w.write(Process.pid); w.close; sleep 0.3; exit!(7) }; exit! }); w.close; r.read").to_i
  end
  pids.each { |pid| assert_equal server.pid.to_s, Procs.status(pid, "PPid") }
  eventually("their end") { pids.none? { |pid| Procs.state(pid) } }
  # One that dies by a signal, too.
  pid = server.eval("r, w = IO.pipe; Process.wait(fork { fork { w.write(Process.pid); w.close; sleep 20 }; exit! }); w.close; r.read").to_i
  Process.kill(:KILL, pid)
  eventually("its end") { Procs.state(pid).nil? }
  assert_equal before, server.log
  assert_equal [server.mold, server.worker].sort, server.children.sort
end

[[], ["--no-preload"]].each do |more|
  test "on_worker_boot raises at the start: Ruby's error, status 1 #{more.join}" do
    server = serve("-w", 2, "-C", "c.rb", *more, wait: false, files: { "c.rb" => "\non_worker_boot { |i| raise \"no \#{i}\" }\n" })
    assert_equal 1, server.wait.exitstatus
    assert_match(/c\.rb:2:.*: no [01] \(RuntimeError\)/, server.log)
    assert_match(/a worker died while starting; nothing was served/, server.log)
    refute_match(/internal:hyperion|\[BUG\]/, server.log)
    assert_nothing_remains(server)
  end
end

test "workers that die at boot are started ever more seldom, and again when they can", seconds: 30 do
  hook = <<~RUBY
    on_worker_boot do
      File.open("boots", "a") { |f| f.puts(Process.clock_gettime(Process::CLOCK_MONOTONIC)) }
      raise "not now" if File.exist?("broken")
    end
  RUBY
  server = serve("-w", 1, "-C", "c.rb", files: { "c.rb" => hook })
  server.write("broken")
  Process.kill(:KILL, server.worker)
  times = -> { server.read("boots").lines.map(&:to_f) }
  eventually("four attempts", seconds: 20) { times.call.size >= 5 }
  waits = times.call.drop(1).each_cons(2).map { |a, b| b - a }
  # 100 ms, 200, 400: never less.
  waits.each_with_index { |wait, i| assert wait >= 0.1 * (1 << i), waits.inspect }
  # A client that comes now is served when somebody can.
  waiting = server.ask("'at last'")
  File.delete(File.join(server.folder, "broken"))
  assert_equal "at last", waiting.answer.body
  waiting.close
  assert_equal 0, server.stop.exitstatus
end

test "workers that die as soon as they serve do not come in a flood" do
  hook = <<~RUBY
    on_worker_boot do
      File.open("boots", "a") { |f| f.puts(1) }
      Thread.new { sleep 0.01; exit!(9) } if File.exist?("broken")
    end
  RUBY
  server = serve("-w", 1, "-C", "c.rb", files: { "c.rb" => hook })
  server.write("broken")
  Process.kill(:KILL, server.worker)
  eventually("the first") { server.read("boots").lines.size > 1 }
  sleep 1
  assert server.read("boots").lines.size <= 13, server.read("boots").lines.size.to_s
  File.delete(File.join(server.folder, "broken"))
  assert_equal "2", server.eval("1 + 1")
end

on_threads "a dead mold is replaced while its workers serve" do |threads|
  server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1)
  workers = server.workers_by_index
  old = server.mold
  busy = running_handler(server, "sleep 0.5; 'slow'")
  Process.kill(:KILL, old)
  assert_include workers.values.map(&:to_s), server.eval("Process.pid") if threads.positive?
  new = server.other_mold(old)
  assert_equal "slow", busy.answer.body
  assert_equal workers, server.workers_by_index
  assert_match(/supervisor: the mold died \(signal 9\), starting another; workers go on$/, server.log)
  # The new one forks.
  Process.kill(:KILL, workers[0])
  worker = server.other_worker(workers[0])
  seen = Array.new(60) { server.eval("Process.pid").to_i }.uniq
  assert_include seen, worker
  assert_equal new, server.mold
  assert_equal [], zombies(server)
  server.clients_go
  assert_equal 0, server.stop.exitstatus
end

test "mold and workers killed at once" do
  server = serve("-w", 2)
  old = server.children
  Process.kill(:KILL, *old)
  eventually("all to be there again", seconds: 10) { server.mold && server.workers_by_index.size == 2 && (server.children & old).empty? }
  assert_equal "2", server.eval("1 + 1")
end

test "a mold that cannot load the app again is tried again; workers serve on", seconds: 30 do
  server = serve("-w", 1, files: { "config.ru" => "raise 'broken now' if File.exist?('broken')\n#{EVAL}" })
  old = server.mold
  worker = server.worker
  server.write("broken")
  Process.kill(:KILL, old)
  eventually("two attempts") { server.log.scan(/config\.ru:1:.*broken now \(RuntimeError\)/).size >= 2 }
  assert server.alive?
  assert_equal worker.to_s, server.eval("Process.pid")
  Process.kill(:KILL, worker)
  waiting = server.ask("'served'")
  File.delete(File.join(server.folder, "broken"))
  assert_equal "served", waiting.answer.body
  server.other_mold(old)
end

test "a config file that has changed by the time a mold is replaced" do
  port = Server.free_port
  server = serve("-C", "c.rb", "-t", 2, bind: false, port: port, files: { "c.rb" => "workers 1\nbind 'tcp://127.0.0.1:#{port}'\n" })
  old = server.mold
  server.write("c.rb", "workers 3\nbind 'tcp://127.0.0.1:#{port}'\nbind 'tcp://127.0.0.1:#{Server.free_port}'\n")
  Process.kill(:KILL, old)
  server.other_mold(old)
  worker = server.worker
  Process.kill(:KILL, worker)
  server.other_worker(worker)
  assert_equal "2", server.eval("1 + 1")
  assert_equal 1, server.workers_by_index.size
  assert_equal 0, server.stop.exitstatus
end

on_threads "the supervisor is killed: workers finish what they have and go, the mold goes" do |threads|
  server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1)
  idle = server.ask("1")
  assert_equal "1", idle.answer.body
  busy = running_handler(server, "sleep 0.5; 'finished ' * 2000")
  server.signal(:KILL)
  answer = busy.answer
  assert_equal "finished " * 2000, answer.body
  assert busy.closed?
  assert idle.closed?
  assert_nothing_remains(server)
  refute_match(/\[BUG\]|error/, server.log)
end

test "the supervisor is killed while the mold loads" do
  server = serve(wait: false, files: { "config.ru" => "File.write('loading', '')\nsleep 0.5\n#{EVAL}" })
  eventually("the mold") { File.exist?(File.join(server.folder, "loading")) }
  server.signal(:KILL)
  server.wait
  assert_nothing_remains(server)
end

test "the supervisor is killed while a worker boots" do
  server = serve("-C", "c.rb", wait: false, files: { "c.rb" => "on_worker_boot { File.write('booting', ''); sleep 0.5 }" })
  eventually("the worker") { File.exist?(File.join(server.folder, "booting")) }
  server.signal(:KILL)
  server.wait
  assert_nothing_remains(server)
end

test "the mold is killed while it loads the app for the first time: status 1, and why" do
  server = serve(wait: false, files: { "config.ru" => "Process.kill(:KILL, Process.pid)" })
  assert_equal 1, server.wait.exitstatus
  assert_match(/the mold died \(signal 9\) before anything was served/, server.log)
  assert_nothing_remains(server)
end
