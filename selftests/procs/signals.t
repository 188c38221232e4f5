#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Signals: the supervisor's are orders, everybody else's mean nothing, and the app's children have their own.

require_relative "app"

STOPS = %w[INT TERM HUP QUIT USR1 USR2 TTIN TTOU].freeze
BACKTRACE = /Interrupt|SignalException|\.rb:\d+:in|\[BUG\]/

# To everybody, as a terminal or systemd does.
def signal_group(server, name)
  Process.kill(name, -server.pid)
end

# The mask of a file in /proc, of the signals that mean something here.
def mask(status, key)
  bits = status[/^#{key}:\s*(\w+)/, 1].hex
  (STOPS + %w[CHLD PIPE]).select { |name| bits[Signal.list[name] - 1] == 1 }
end

%w[INT TERM].each do |name|
  on_threads "SIG#{name} to the whole group is a graceful stop" do |threads|
    server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1)
    busy = server.ask('File.write("here", ""); sleep 0.5; "whole " * 1000')
    eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
    signal_group(server, name)
    assert_equal "whole " * 1000, busy.answer.body
    busy.close
    assert_equal 0, server.wait.exitstatus
    refute_match(BACKTRACE, server.log)
    assert_match(/supervisor: stopping, requests are finished first$/, server.log)
    refute_match(/killed|status/, server.log)
    assert_nothing_remains(server)
  end
end

test "SIGINT to the group while it loads the app", seconds: 20 do
  server = serve("-w", 2, wait: false, files: { "config.ru" => "File.write('loading', '')\nsleep 60\n#{EVAL}" })
  eventually("the mold") { File.exist?(File.join(server.folder, "loading")) }
  signal_group(server, :INT)
  assert_equal 0, server.wait.exitstatus
  refute_match(BACKTRACE, server.log)
  assert_nothing_remains(server)
end

test "SIGINT to the group at any moment of the start", seconds: 40 do
  12.times do |i|
    server = serve("-w", 1, wait: false)
    # The supervisor begins to listen to signals before it starts anything.
    eventually("the supervisor") { Procs.title(server.pid) == "hyperion-bpf: supervisor" && Procs.children(server.pid).any? }
    sleep i * 0.02
    signal_group(server, :INT)
    assert_equal 0, server.wait.exitstatus, server.log
    refute_match(BACKTRACE, server.log)
    assert_nothing_remains(server)
  end
end

on_threads "signals sent to workers and mold do nothing" do |threads|
  server = serve("-w", 1, "-t", threads)
  mold, worker = server.mold, server.worker
  busy = server.ask('File.write("here", ""); sleep 0.5')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  3.times do
    STOPS.each { |name| Process.kill(name, mold, worker) }
    sleep 0.02
  end
  # Its sleep has not become shorter by them: rounded, as sleep answers.
  assert_match(/\A[01]\z/, busy.answer.body)
  STOPS.each { |name| Process.kill(name, mold, worker) }
  assert_equal worker.to_s, server.eval("Process.pid")
  assert_equal [mold, worker], [server.mold, server.worker]
  # The mold takes its orders all the same.
  Process.kill(:KILL, worker)
  server.other_worker(worker)
  assert_equal mold, server.mold
  refute_match(BACKTRACE, server.log)
end

test "signals that mean nothing yet do not end the supervisor" do
  server = serve("-w", 1)
  %w[HUP USR1 USR2 PIPE].each { |name| server.signal(name) }
  sleep 0.1
  assert_equal server.worker.to_s, server.eval("Process.pid")
  assert_equal 0, server.stop.exitstatus
end

on_threads "commands of the app have all signals as usual" do |threads|
  server = serve("-w", 1, "-t", threads)
  # As the test's own commands have them, whatever the test was started with.
  expected = %w[SigIgn SigBlk].map { |key| mask(`cat /proc/self/status`, key) }
  ["`cat /proc/self/status`",
   "IO.popen(%w[cat /proc/self/status], &:read)",
   "r, w = IO.pipe; Process.wait(spawn('cat /proc/self/status', out: w)); w.close; r.read",
   "r, w = IO.pipe; Process.wait(fork { $stdout.reopen(w); exec('cat', '/proc/self/status') }); w.close; r.read",
   "system('cat /proc/self/status > status'); File.read('status')"].each do |code|
    status = server.eval(code)
    assert_equal expected, %w[SigIgn SigBlk].map { |key| mask(status, key) }, code
    assert_equal [], mask(status, "SigCgt"), code
  end
end

on_threads "every stop signal ends a command or a fork of the app's" do |threads|
  server = serve("-w", 1, "-t", threads)
  (STOPS - %w[TTIN TTOU]).each do |name|
    number = Signal.list[name]
    assert_equal number.to_s, server.eval("system('kill -#{name} $$; sleep 5'); $?.termsig")
    assert_equal number.to_s, server.eval("pid = fork { trap(:#{name}, 'SYSTEM_DEFAULT'); sleep 20 }; sleep 0.05; Process.kill(:#{name}, pid); Process.wait2(pid)[1].termsig")
  end
  # Without a word of the app's a fork is what any fork of Ruby's is.
  assert_equal "15", server.eval("pid = fork { sleep 20 }; sleep 0.05; Process.kill(:TERM, pid); Process.wait2(pid)[1].termsig")
end

test "commands that run while the app loads, and in hooks, have them as usual" do
  look = ->(name) { "`cat /proc/self/status > #{name}`" }
  server = serve("-w", 1, "-C", "c.rb", files: {
    "config.ru" => "#{look["load"]}\n#{EVAL}",
    "c.rb" => "#{look["config"]}\nbefore_fork { #{look["before_fork"]} }\non_worker_boot { #{look["worker_boot"]} }\n",
  })
  expected = %w[SigIgn SigBlk].map { |key| mask(`cat /proc/self/status`, key) }
  %w[load config before_fork worker_boot].each do |name|
    assert_equal expected, %w[SigIgn SigBlk].map { |key| mask(server.read(name), key) }, name
  end
end

test "traps of the app work, and do not stop the worker" do
  server = serve("-w", 1, files: { "config.ru" => "trap(:USR2) { File.write('trapped', Process.pid) }\ntrap(:TERM) { }\n#{EVAL}" })
  worker = server.worker
  Process.kill(:USR2, worker)
  eventually("the trap") { server.read("trapped") == worker.to_s }
  assert_equal worker.to_s, server.eval("Process.pid")
end

test "a log that nobody reads any more ends nobody" do
  reader, writer = IO.pipe
  folder = app_folder
  server = Server.start("-e", "production", "-w", 1, "config.ru", env: gem_env, chdir: folder, wait: false, out: writer, err: writer)
  writer.close
  text = +""
  eventually("the first lines", seconds: 20) { (text << reader.read_nonblock(4096, exception: false).to_s).include?("workers=1") }
  reader.close
  server.signal(:TTIN)
  eventually("a second worker") { server.workers_by_index.size == 2 }
  20.times { assert_equal "2", server.eval("$stdout.puts 'x' rescue 1; 1 + 1") }
  server.signal(:TTOU)
  eventually("one worker") { server.workers_by_index.size == 1 }
  assert_equal 0, server.stop.exitstatus
end
