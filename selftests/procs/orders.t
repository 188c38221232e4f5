#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What an operator, or systemd, tells the supervisor, and what it tells them.

require "fcntl"
require_relative "app"

def workers_are(server, *indexes)
  eventually("workers #{indexes.join(" ")}", seconds: 10) { server.workers_by_index.keys.sort == indexes }
end

on_threads "TTIN is one worker more, TTOU one less, and never none" do |threads|
  server = serve("-w", 1, "-t", threads)
  first = server.worker
  server.signal(:TTIN)
  workers_are(server, 0, 1)
  server.signal(:TTIN)
  workers_are(server, 0, 1, 2)
  assert_equal first, server.worker
  # Each is in the group that shares the port.
  seen = Array.new(100) { server.eval("Process.pid").to_i }.uniq
  assert_equal server.workers_by_index.values.sort, seen.sort
  server.signal(:TTOU)
  workers_are(server, 0, 1)
  server.signal(:TTOU)
  workers_are(server, 0)
  server.signal(:TTOU)
  server.signal(:TTOU)
  sleep 0.2
  assert_equal({ 0 => first }, server.workers_by_index)
  20.times { assert_equal first.to_s, server.eval("Process.pid") }
  # A place that was given up is taken again.
  server.signal(:TTIN)
  workers_are(server, 0, 1)
  assert_equal 0, server.stop.exitstatus
  assert_nothing_remains(server)
end

on_threads "a worker that is one too many finishes what it has" do |threads|
  server = serve("-w", 2, "-t", threads, "--idle-keepalive", 1)
  last = server.worker(1)
  clients = Array.new(20) { server.client }
  mine = clients.find { |client| client.ask("Process.pid").answer.body == last.to_s }
  assert mine, "no connection went to the second worker"
  mine.ask("File.write('running', ''); sleep 0.5; 'finished'")
  eventually("the handler") { File.exist?(File.join(server.folder, "running")) }
  server.signal(:TTOU)
  assert_equal "finished", mine.answer.body
  clients.each(&:close)
  workers_are(server, 0)
  eventually("its end") { !Procs.alive?(last) }
  refute_match(/killed|status/, server.log)
end

test "a worker killed after TTIN or TTOU: as many as are wanted" do
  server = serve("-w", 2)
  server.signal(:TTOU)
  workers_are(server, 0)
  Process.kill(:KILL, old = server.worker)
  server.other_worker(old)
  assert_equal [0], server.workers_by_index.keys
  # One by one: the kernel makes one of two that wait.
  server.signal(:TTIN)
  workers_are(server, 0, 1)
  server.signal(:TTIN)
  workers_are(server, 0, 1, 2)
  Process.kill(:KILL, old = server.worker(2))
  server.other_worker(old, 2)
  assert_equal 3, server.workers_by_index.size
end

test "TTIN over a Unix path shares the socket" do
  path = File.join(open_folder, "app.sock")
  server = serve("-w", 1, bind: "unix://#{path}")
  server.signal(:TTIN)
  workers_are(server, 0, 1)
  server.signal(:TTOU)
  workers_are(server, 0)
  5.times do
    socket = UNIXSocket.new(path)
    socket.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert_match(/200 OK/, socket.read)
  end
  assert_equal 0, server.stop.exitstatus
  refute File.exist?(path)
end

test "a Unix path that a new server has taken over stays" do
  path = File.join(open_folder, "app.sock")
  first = serve("-w", 1, bind: "unix://#{path}")
  socket = UNIXSocket.new(path)
  code = "File.write('running', ''); sleep 1; 'first'"
  socket.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: #{code.bytesize}\r\n\r\n#{code}")
  eventually("the handler") { File.exist?(File.join(first.folder, "running")) }
  first.signal(:TERM)
  eventually("the stop") { first.log.match?(/supervisor: stopping/) }
  second = serve("-w", 1, bind: "unix://#{path}")
  assert_match(/first\z/, socket.read)
  socket.close
  assert_equal 0, first.wait.exitstatus
  assert File.socket?(path)
  other = UNIXSocket.new(path)
  other.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
  assert_match(/200 OK/, other.read)
  assert_equal 0, second.stop.exitstatus
  refute File.exist?(path)
end

test "the pid file" do
  path = File.join(open_folder, "server.pid")
  server = serve("-w", 1, "--pidfile", path)
  assert_equal "#{server.pid}\n", File.read(path)
  assert_equal "#{server.pid}", server.eval("Process.ppid")
  assert_equal 0, server.stop.exitstatus
  refute File.exist?(path)

  server = serve("-w", 1, "--pidfile", path, wait: false, files: { "config.ru" => "raise 'no'" })
  assert_equal 1, server.wait.exitstatus
  refute File.exist?(path)

  path = File.join(open_folder, "none", "server.pid")
  server = serve("-w", 1, "--pidfile", path, wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(/--pidfile #{path}: No such file or directory/, server.log)
end

test "another server's pid file is left alone" do
  path = File.join(open_folder, "server.pid")
  first = serve("-w", 1, "--pidfile", path)
  # On the same port it fails before it would write.
  second = serve("-w", 1, "--pidfile", path, port: first.port, wait: false)
  assert_equal 1, second.wait.exitstatus
  assert_equal "#{first.pid}\n", File.read(path)
  # One that has replaced it (a restart that overlaps).
  third = serve("-w", 1, "--pidfile", path)
  assert_equal 0, first.stop.exitstatus
  assert_equal "#{third.pid}\n", File.read(path)
end

# What a service manager is told: by path, or by a name in the abstract space.
def with_notify(abstract)
  socket = Socket.new(:UNIX, :DGRAM)
  name = abstract ? "\0hyperion-selftest-#{Process.pid}-#{rand(1 << 30)}" : File.join(open_folder, "notify")
  socket.bind(Addrinfo.unix(name))
  File.chmod(0o777, name) unless abstract
  Tap.after { socket.close }
  told = []
  listen = lambda do
    while (text = socket.recv_nonblock(4096, exception: false)).is_a?(String)
      told << text
    end
    told
  end
  yield({ "NOTIFY_SOCKET" => name.sub("\0", "@") }, listen)
end

[false, true].each do |abstract|
  test "systemd is told once when all is ready, and once when it stops (#{abstract ? "abstract" : "path"})" do
    with_notify(abstract) do |env, told|
      files = { "c.rb" => "on_worker_boot { |i| sleep 0.05 until File.exist?(\"go\#{i}\") }" }
      server = serve("-w", 2, "-C", "c.rb", env: env, wait: false, files: files)
      server.wait_until_listening
      server.write("go0")
      eventually("the first worker", seconds: 10) { server.workers_by_index.size == 1 }
      sleep 0.1
      assert_equal [], told.call
      server.write("go1")
      server.wait_until_serving
      assert_equal ["READY=1"], told.call
      # Nothing that happens to workers or mold is worth a word.
      Process.kill(:KILL, old = server.worker)
      server.other_worker(old)
      server.signal(:TTIN)
      server.write("go2")
      workers_are(server, 0, 1, 2)
      Process.kill(:KILL, old = server.mold)
      server.other_mold(old)
      assert_equal ["READY=1"], told.call
      2.times { server.signal(:TERM) }
      assert_equal 0, server.wait.exitstatus
      assert_equal %w[READY=1 STOPPING=1], told.call
    end
  end
end

test "systemd is never told of a start that fails to be ready" do
  with_notify(false) do |env, told|
    server = serve(env: env, wait: false, files: { "config.ru" => "raise 'no'" })
    assert_equal 1, server.wait.exitstatus
    refute told.call.include?("READY=1")
  end
end

# Runs the server with @sockets as descriptors 3, 4, ... as systemd does.
def serve_activated(sockets, *args, **how)
  fds = sockets.each_with_index.to_h { |socket, i| [3 + i, socket] }
  serve(*args, before: ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"'], bind: false, env: { "LISTEN_FDS" => sockets.size.to_s },
        port: sockets.last.local_address.ip_port, **fds, **how)
end

on_each_loop "sockets that systemd has opened", seconds: 20 do |mode|
  listener = TCPServer.new("127.0.0.1", Server.free_port)
  path = File.join(open_folder, "app.sock")
  unix = UNIXServer.new(path)
  # As systemd passes them: they block.
  listener.to_io.fcntl(Fcntl::F_SETFL, 0)
  server = serve_activated([unix, listener], "-w", 3, "--io-uring", mode)
  port = listener.addr[1]
  assert_match(%r{listening on tcp://127\.0\.0\.1:#{port}$}, server.log)
  assert_match(/listening on unix:\/\/#{path}$/, server.log)
  refute_match(/9292/, server.log)
  # Idle workers that share a listener all look when a connection comes: none may hang in accept.
  30.times { assert_equal "2", server.eval("1 + 1") }
  sockets = Array.new(6) { UNIXSocket.new(path) }
  sockets.each { |s| s.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n") }
  sockets.each { |s| assert_match(/200 OK/, s.read) }
  # Nothing of it for the app's commands and forks.
  assert_equal "[]", server.eval("ENV.keys.grep(/LISTEN_/)")
  pid = server.eval("fork { sleep 20 }").to_i
  eventually("the fork to close") { Procs.fds(pid).values.grep(/socket:/).empty? }
  Process.kill(:KILL, pid)
  # Graceful: those that are idle leave, too.
  assert_equal 0, server.stop.exitstatus
  # The socket is systemd's: it stays, and queues.
  assert File.socket?(path)
  waiting = TCPSocket.new("127.0.0.1", port)
  server = serve_activated([listener], "-w", 1)
  waiting.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
  assert_match(/200 OK/, waiting.read)
end

test "beside them, addresses of one's own" do
  listener = TCPServer.new("127.0.0.1", Server.free_port)
  more = Server.free_port
  server = serve_activated([listener], "-w", 2, "-b", "tcp://127.0.0.1:#{listener.addr[1]}", "-b", "tcp://127.0.0.1:#{more}")
  assert_equal 2, server.log.scan(/listening on/).size
  assert_equal "2", server.eval("1 + 1")
  socket = TCPSocket.new("127.0.0.1", more)
  socket.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
  assert_match(/200 OK/, socket.read)
end

test "a descriptor that is no listening socket is said and not used" do
  listener = TCPServer.new("127.0.0.1", Server.free_port)
  server = serve_activated([File.open(File::NULL), listener], "-w", 1)
  assert_match(/descriptor 3 from LISTEN_FDS is not used: it is no listening stream socket/, server.log)
  assert_match(/listening on tcp:\/\/127\.0\.0\.1:#{listener.addr[1]}$/, server.log)
end

test "LISTEN_FDS that is meant for another process" do
  server = serve("-w", 1, env: { "LISTEN_FDS" => "1", "LISTEN_PID" => "1" })
  assert_equal "2", server.eval("1 + 1")
  assert_equal "[]", server.eval("ENV.keys.grep(/LISTEN_/)")
end

on_threads "titles say what each is, and how busy" do |threads|
  server = serve("-w", 1, "-t", threads, "--idle-keepalive", 3)
  assert_equal "hyperion-bpf: supervisor", Procs.title(server.pid)
  assert_equal "hyperion-bpf: mold", Procs.title(server.mold)
  worker = server.worker
  is = ->(text) { eventually("the title #{text}") { Procs.title(worker) == "hyperion-bpf: worker 0#{text}" } }
  is.call(" [0 of #{threads} threads busy, 0 connections]")
  clients = Array.new(3) { server.ask("1").tap(&:answer) }
  is.call(" [0 of #{threads} threads busy, 3 connections]")
  next if threads.zero?

  busy = Array.new(2) { |i| clients[i].ask("sleep 0.1 until File.exist?('go'); 'went'") }
  # The third goes, as it has nothing to ask.
  is.call(" [2 of #{threads} threads busy, 2 connections]")
  server.signal(:TERM)
  is.call(" draining [2 of #{threads} threads busy, 2 connections]")
  server.write("go")
  busy.each do |client|
    assert_equal "went", client.answer.body
    client.close
  end
  assert_equal 0, server.wait.exitstatus
end

test "titles of a start, and of a worker without an app" do
  server = serve("-w", 1, "-C", "c.rb", wait: false, files: {
    "config.ru" => "sleep 0.05 until File.exist?('loaded')\n#{EVAL}",
    "c.rb" => "on_worker_boot { sleep 0.05 until File.exist?('booted') }",
  })
  titles = -> { server.children.map { |pid| Procs.title(pid) } }
  eventually("the mold that loads") { titles.call == ["hyperion-bpf: mold loading"] }
  server.write("loaded")
  eventually("the worker that starts") { titles.call.sort == ["hyperion-bpf: mold", "hyperion-bpf: worker 0 starting"] }
  server.write("booted")
  server.wait_until_serving
  server = Server.start("-w", 1)
  eventually("a worker without an app") { server.children.map { |pid| Procs.title(pid) } == ["hyperion-bpf: worker 0 [0 connections]"] }
end

test "a title longer than what the process was given, and a long command line" do
  server = serve("-w", 1, env: { "FILLER" => "x" * 5000 })
  assert_equal "hyperion-bpf: supervisor", Procs.title(server.pid)
  assert_equal "x" * 5000, server.eval("ENV['FILLER']")
  # Nothing in the environment but what was there.
  env = gem_env.merge("PATH" => ENV["PATH"])
  server = serve("-w", 1, env: env, unsetenv_others: true)
  assert_match(/\Ahyperion-bpf: worker 0 \[0 of 5/, Procs.title(server.worker))
end
