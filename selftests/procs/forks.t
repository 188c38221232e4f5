#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Processes that the app starts hold nothing of the server's: no client waits for them.

require_relative "app"
require "json"

WAYS = {
  "fork with a block" => "fork { sleep 20 }",
  "fork without a block" => "pid = fork; if pid then pid else sleep 20; exit!; end",
  "Process.fork in a thread" => "Thread.new { Process.fork { sleep 20 } }.value",
  "IO.popen of a fork" => "$keep = IO.popen('-'); if $keep then $keep.pid else sleep 20; exit!; end",
  "spawn" => "spawn('sleep', '20')",
  "spawn by a shell" => "spawn('sleep 20; true')",
  "a command in the background" => "`sleep 20 >/dev/null 2>&1 & echo $!`.to_i",
  "system in the background" => "system('sleep 20 >/dev/null 2>&1 & echo $! > pid'); File.read('pid').to_i",
  "a daemon" => "r, w = IO.pipe; Process.wait(fork { fork { w.write(Process.pid); w.close; sleep 20 } }); w.close; r.read.to_i",
}.freeze

# What is a socket, a ring or an epoll set.
OURS = /socket:|io_uring|eventpoll/

FDS = 'Dir.children("/proc/self/fd").to_h { |fd| [fd, (File.readlink("/proc/self/fd/#{fd}") rescue nil)] }'

# What a fork in @server's handler sees of its descriptors: number => what.
def fds_of_fork(server, before: "", inside: "")
  JSON.parse(server.eval(<<~RUBY))
    require "json"
    #{before}
    r, w = IO.pipe
    pid = fork { #{inside}; w.write(JSON.generate(#{FDS})); w.close; exit!(true) }
    w.close
    text = r.read
    Process.wait(pid)
    text
  RUBY
end

# It may still be on its way when its parent has answered.
def assert_holds_nothing(pid)
  eventually("#{pid} to close all sockets") { Procs.fds(pid).values.grep(OURS).empty? }
end

test "a fork has nothing of the inboxes in which connections move" do
  server = serve("-w", 3)
  held = ->(pid) { Procs.fds(pid).values.grep(OURS) }
  # Those of its own and of all places: more sockets than a worker alone has.
  eventually("the inboxes") { held.call(server.worker(0)).size > 12 }
  WAYS.each do |name, code|
    pid = server.eval(code).to_i
    assert_holds_nothing(pid)
    assert Procs.alive?(pid), name
    Process.kill(:KILL, pid)
  end
end

on_threads "clients do not wait for processes that the app leaves behind", seconds: 40 do |threads|
  server = serve("-w", 1, "-t", threads)
  kept = server.ask("1") # another connection that is open all the time
  assert_equal "1", kept.answer.body
  WAYS.each do |name, code|
    client = server.ask(code, "Connection: close")
    answer = client.answer
    assert_equal 200, answer&.status, name
    # The end of file, while that process lives.
    assert client.closed?, name
    assert Procs.alive?(answer.body.to_i), "#{name}: #{answer.body} is gone"
    assert_holds_nothing(answer.body.to_i)
    Process.kill(:KILL, answer.body.to_i)
  end
  assert_equal "2", kept.ask("1 + 1").answer.body
end

on_each_loop "a fork holds neither listeners nor connections nor the loop" do |mode|
  [5, 0].each do |threads|
    server = serve("-w", 2, "-t", threads, "--io-uring", mode)
    clients = Array.new(5) { server.ask("1").tap(&:answer) }
    fds = fds_of_fork(server)
    assert_equal [], fds.values.grep(OURS), fds.inspect
    # In the worker they are there: the pattern sees them.
    worker = Procs.fds(server.worker).values
    assert worker.grep(/socket:/).size >= 2, worker.inspect
    refute worker.grep(/io_uring|eventpoll/).empty?, worker.inspect
    # A fork of a fork, and one beside busy connections.
    fds = fds_of_fork(server, inside: "pid = fork; (Process.wait(pid); exit!) if pid")
    assert_equal [], fds.values.grep(OURS), fds.inspect
    clients.each { |client| assert_equal "2", client.ask("1 + 1").answer.body }
  end
end

test "a fork keeps what the app has opened" do
  server = serve("-w", 1)
  fds = fds_of_fork(server, before: <<~RUBY)
    require "socket"
    $pair = UNIXSocket.pair
    $server = TCPServer.new("127.0.0.1", 0)
    $client = TCPSocket.new("127.0.0.1", $server.addr[1])
    $accepted = $server.accept
    $file = File.open("config.ru")
  RUBY
  assert_equal 5, fds.values.grep(/socket:/).size, fds.inspect
  assert_equal 1, fds.values.grep(/config\.ru/).size, fds.inspect
end

on_threads "a fork that goes on as a whole process of its own" do |threads|
  server = serve("-w", 1, "-t", threads)
  # It works with Ruby, threads, at_exit handlers, and connects to its own server.
  code = <<~RUBY
    require "socket"
    r, w = IO.pipe
    pid = fork do
      at_exit { w.write("bye") }
      GC.start
      socket = TCPSocket.new("127.0.0.1", #{server.port})
      socket.write("GET /-/health HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n")
      w.write(Thread.new { socket.gets }.value) unless #{threads} == 0
    end
    w.close
    text = r.read
    Process.wait(pid)
    text + $?.exitstatus.to_s
  RUBY
  assert_equal threads.zero? ? "bye0" : "HTTP/1.1 200 OK\r\nbye0", server.eval(code)
end

on_threads "a fork that leaves the handler by itself does not answer for its parent" do |threads|
  server = serve("-w", 1, "-t", threads)
  client = server.ask("pid = fork; Process.wait(pid) if pid; pid ? 'the parent' : 'the child'")
  assert_equal "the parent", client.answer.body
  assert_equal "1", client.ask("1").answer.body
  client = server.ask("if (pid = fork) then Process.wait(pid); 'the parent' else raise 'in the child' end")
  assert_equal "the parent", client.answer.body
end

test "commands get nothing but standard descriptors: in the mold, in hooks, in handlers" do
  list = "ls -l /proc/self/fd"
  server = serve("-w", 1, "-C", "c.rb", files: {
    "config.ru" => "File.write('load', `#{list}`)\n#{EVAL}",
    "c.rb" => <<~RUBY,
      File.write("config", `#{list}`)
      before_fork { File.write("before_fork", `#{list}`) }
      on_worker_boot { File.write("worker_boot", `#{list}`) }
    RUBY
  })
  texts = %w[config load before_fork worker_boot].to_h { |name| [name, server.read(name)] }
  texts["handler"] = server.eval("`#{list}`")
  texts["system"] = server.eval("system('#{list} > listed'); File.read('listed')")
  texts["exec"] = server.eval("r, w = IO.pipe; Process.wait(fork { $stdout.reopen(w); exec('#{list}') }); w.close; r.read")
  texts["native"] = server.eval("IO.popen(['ls', '-l', '/proc/self/fd'], &:read)")
  # 3 is the folder that ls reads; who starts the tests may have left more.
  expected = `#{list}`.scan(/ (\d+) -> /).flatten.sort
  texts.each { |name, text| assert_equal expected, text.scan(/ (\d+) -> /).flatten.sort, "#{name}: #{text}" }
end

test "a fork of the mold's keeps nothing that the mold and its workers live by" do
  look = "File.write('NAME', Dir.children('/proc/self/fd').map { |fd| File.readlink(\"/proc/self/fd/\#{fd}\") rescue '' }.join(' ')); sleep 20"
  server = serve("-w", 1, "-C", "c.rb", files: {
    "config.ru" => "fork { #{look.sub("NAME", "load")} }\n#{EVAL}",
    "c.rb" => "before_fork { fork { #{look.sub("NAME", "before_fork")} } }\non_worker_boot { fork { #{look.sub("NAME", "boot")} } }",
  })
  %w[load before_fork boot].each do |name|
    eventually(name) { !server.read(name).empty? }
    refute_match OURS, server.read(name), name
  end
  # Nor does it keep any of them from being seen to end.
  old = server.mold
  Process.kill(:KILL, old)
  server.other_mold(old)
  old = server.worker
  Process.kill(:KILL, old)
  server.other_worker(old)
end

test "a stopped server leaves its port free, whatever the app has left behind" do
  server = serve("-w", 2)
  pids = Array.new(4) { server.eval("fork { sleep 20 }").to_i }
  assert_equal 0, server.stop.exitstatus
  assert Server.unused?(server.port), "the port is still taken"
  pids.each { |pid| assert Procs.alive?(pid) }
  Process.kill(:KILL, *pids)
end

on_each_loop "over a Unix path: the same" do |mode|
  path = File.join(open_folder, "app.sock")
  server = serve("-w", 2, "--io-uring", mode, bind: "unix://#{path}")
  exchange = lambda do |code|
    socket = UNIXSocket.new(path)
    socket.write("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: #{code.bytesize}\r\n\r\n#{code}")
    socket.read.split("\r\n\r\n", 2).last.tap { socket.close }
  end
  pid = exchange.call("fork { sleep 20 }").to_i
  assert Procs.alive?(pid)
  assert_holds_nothing(pid)
  Process.kill(:KILL, pid)
  # Sockets without a name are the app's.
  pid = exchange.call("require 'socket'; $pair = UNIXSocket.pair; fork { sleep 20 }").to_i
  sleep 0.1
  assert_equal 2, Procs.fds(pid).values.grep(OURS).size
  Process.kill(:KILL, pid)
end
