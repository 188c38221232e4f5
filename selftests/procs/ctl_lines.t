#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The control socket as a stranger may use it: wrong lines, halves of lines, too many clients, no reader.

require_relative "ctl"

def plain_server(*args, **how)
  server = Server.start("-w", 1, "--constant", "/=x", *args, **how)
  eventually("its worker") { server.control && server.status["state"] == "serving" }
  server
end

test "lines that are none" do
  server = plain_server
  socket = server.dial
  { "" => "malformed", "{" => "malformed", "GET / HTTP/1.1" => "malformed", "[]" => "malformed", "\xff\xfe" => "malformed",
    "{}" => "version", '{"v":2,"command":"status"}' => "version", asking("nothing") => "unknown_command",
    asking("status", worker: 1) => "bad_argument", asking("drain") => "bad_argument",
    asking("drain", worker: "0") => "bad_argument", asking("drain", worker: 256) => "bad_argument",
    asking("drain", worker: 1e300) => "bad_argument", asking("workers", by: 1, to: 2) => "bad_argument",
    asking("log-level", level: "loud") => "bad_argument", asking("backtrace", worker: 0, timeout_ms: 1) => "bad_argument",
    asking("deny", cidr: "300.1.2.3") => "bad_argument", asking("deny", cidr: "::1", seconds: 0) => "bad_argument",
    asking("deny", cidr: "::1/#{"1" * 60}") => "bad_argument", asking("deny", cidr: "::1") => "no_guard" }.each do |line, code|
    answer = answer_to(socket, line)
    assert_equal [1, false, code], [answer["v"], answer["ok"], error_code(answer)], line.inspect
  end
  assert_equal [true, "x1"], answer_to(socket, asking("status", id: "x1")).values_at("ok", "id")
end

test "several lines in one piece, one line in several" do
  server = plain_server
  socket = server.dial
  socket.write("#{asking("status", id: 1)}\n#{asking("nothing", id: 2)}\r\n#{asking("help", id: 3)}\n")
  assert_equal [1, 2, 3], Array.new(3) { next_answer(socket)["id"] }
  "#{asking("status", id: 4)}\n".each_char { |c| socket.write(c) }
  assert_equal 4, next_answer(socket)["id"]
  # Who says no more still hears.
  socket.write("#{asking("status", id: 5)}\n")
  socket.close_write
  assert_equal 5, next_answer(socket)["id"]
  assert_equal nil, next_answer(socket)
end

test "a line that is too long" do
  server = plain_server
  socket = server.dial
  line = asking("status", id: "x")
  fits = line + " " * (4095 - line.bytesize)
  assert_equal true, answer_to(socket, fits)["ok"]
  begin
    socket.write("y" * 5000)
  rescue Errno::EPIPE
    nil
  end
  assert_equal "too_long", error_code(next_answer(socket))
  assert_equal nil, (next_answer(socket) rescue nil)
  assert_equal "serving", server.status["state"]
end

test "half a line, and then nothing", seconds: 20 do
  server = plain_server
  socket = server.dial
  socket.write('{"v":1,"comm')
  assert_equal "serving", server.status["state"]
  assert_equal "timeout", error_code(next_answer(socket))
  assert_equal nil, next_answer(socket)
  # Its end comes sooner.
  socket = server.dial
  socket.write('{"v":1')
  socket.close_write
  assert_equal nil, next_answer(socket)
end

test "more clients than there are places" do
  server = plain_server
  clients = Array.new(16) { server.dial }
  assert_equal "serving", answer_to(clients.last, asking("status"))["state"]
  late = server.dial
  assert_equal "busy", error_code(next_answer(late))
  assert_equal nil, next_answer(late)
  _, err, code = run_ctl("-i", server.instance, "status")
  assert_equal [1, "hyperion-ctl: all places for clients are taken\n"], [code, err]
  clients.pop.close
  eventually("a place") { run_ctl("-i", server.instance, "status")[2].zero? }
  clients.each { |socket| assert_equal true, answer_to(socket, asking("status"))["ok"] }
end

test "who may only read leaves places to the others" do
  needs("root")
  server = plain_server("--control-group", "daemon", nobody: false)
  code = <<~'RUBY'
    require "socket"
    all = Array.new(14) { UNIXSocket.new(ARGV[0]) }
    all.each { |s| s.puts('{"v":1,"command":"status"}') rescue 0 }
    puts all.count { |s| s.gets.to_s.include?('"ok":true') }
    $stdout.flush
    $stdin.read
  RUBY
  IO.popen(["setpriv", "--reuid", "65534", "--regid", "65534", "--groups", Etc.getgrnam("daemon").gid.to_s,
            RbConfig.ruby, "-e", code, server.control], "r+") do |readers|
    assert_equal "12\n", readers.gets
    assert_equal "serving", server.status["state"]
    readers.close_write
  end
end

test "a client that does not read is cut, and holds up nobody", seconds: 30 do
  server = plain_server
  deaf = server.dial
  deaf.setsockopt(Socket::SOL_SOCKET, Socket::SO_RCVBUF, 4096)
  # Until the server takes no more from it: then an answer waits in vain.
  lines = "#{asking("help")}\n" * 50
  loop do
    break if deaf.write_nonblock(lines, exception: false) == :wait_writable
  rescue Errno::EPIPE
    break
  end
  5.times { assert_equal "serving", server.status["state"] }
  assert_equal "x", server.client.get.body
  eventually("its end", seconds: 10) do
    deaf.write_nonblock("\n", exception: false)
    false
  rescue Errno::EPIPE, Errno::ECONNRESET
    true
  end
end

test "a worker that says strange things to its supervisor changes nothing" do
  server = serve("-w", 1)
  # Its control socket is one that a handler can find: a pair without a name.
  code = <<~'RUBY'
    require "socket"
    Dir.children("/proc/self/fd").map(&:to_i).sort.each do |fd|
      next unless (File.readlink("/proc/self/fd/#{fd}") rescue "").start_with?("socket:")
      s = Socket.for_fd(fd).tap { |x| x.autoclose = false }
      next unless s.getsockopt(:SOCKET, :TYPE).int == Socket::SOCK_SEQPACKET
      [10, 11].each { |word| [0, 1, 2**32 - 1].each { |n| s.send([word, n].pack("LL") + "9999999999 -1 x\n" * 99, 0) } }
    end
    "said"
  RUBY
  assert_equal "said", server.eval(code)
  assert_equal true, server.ctl("backtrace", 0)["ok"]
  assert_equal "said", server.eval(code)
  assert_equal "serving", server.status["state"]
end
