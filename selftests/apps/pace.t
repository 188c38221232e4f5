#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Streams and hijacked connections over the real program: pace, memory, threads, the stop.

require "json"
require_relative "../harness/tap"
require_relative "gems"
require_relative "http"

APP = File.join(__dir__, "pace.ru")
MIB = 1 << 20

def serve(*args)
  Server.start("-w", 1, "--no-log-requests", *args, APP, env: Gems.bundle("rack3"))
end

def counts(server)
  JSON.parse(Http.request(server.port, "GET", "/counts").body).tap { |c| c.default = 0 }
end

def worker(server)
  eventually("a worker") { server.workers.size == 2 } # and the mold
  server.workers.find { |pid| File.read("/proc/#{pid}/cmdline").include?("worker") } || server.workers.max
end

def status(pid, field)
  File.read("/proc/#{pid}/status")[/^#{field}:\s+(\d+)/, 1].to_i
end

# A client that asks and does not read; little fits into its socket.
def ask(server, target, version: "1.1")
  socket = Socket.new(:INET, :STREAM)
  socket.setsockopt(:SOCKET, :RCVBUF, 65_536)
  socket.connect(Socket.sockaddr_in(server.port, "127.0.0.1"))
  socket.write("GET #{target} HTTP/#{version}\r\nHost: test\r\n\r\n")
  Tap.after { socket.close unless socket.closed? }
  socket
end

# Until @name has stood still.
def stand(server, name)
  before = -1
  eventually("#{name} to stand still", seconds: 20) do
    now = counts(server)[name]
    same = now == before && now.positive?
    before = now
    sleep 0.2
    same
  end
  before
end

test "HTTP/1.0: as it comes, until the connection closes" do
  server = serve("-t", 3)
  socket = ask(server, "/gate", version: "1.0")
  head = +""
  head << socket.readpartial(10_000) until head.include?("first\n")
  refute_match(/chunked|content-length/i, head)
  Http.request(server.port, "GET", "/open")
  assert_equal "last\n", socket.read
end

test "a flushed piece is there before the next one is made" do
  server = serve("-t", 3)
  socket = ask(server, "/later")
  text = +""
  text << socket.readpartial(10_000) until text.include?("first\n")
  Http.request(server.port, "GET", "/open")
  text << socket.readpartial(10_000) until text.end_with?("0\r\n\r\n")
  assert_match(/5\r\nlast\n\r\n0\r\n\r\n\z/, text)
end

# Credits: 256 KiB here, what the sockets hold beside, and a piece.
["/each?n=2000000&size=1000", "/each?n=40000000&size=50", "/call?n=20000000&size=100&flush=1",
 "/call?n=20000&size=100000"].each do |target|
  test "a client that never reads stops the producer: #{target}", seconds: 60 do
    server = serve("-t", 3)
    pid = worker(server)
    counts(server)
    before = status(pid, "VmRSS")
    socket = ask(server, target)
    produced = stand(server, "produced")
    assert produced < 8 * MIB, "#{produced} bytes were produced for nobody"
    grown = status(pid, "VmRSS") - before
    assert grown < 8 * 1024, "#{grown} KiB more memory"
    socket.close
    eventually("close") { counts(server)["closed"] == 1 }
    eventually("word of it") { counts(server)["told"] == 1 }
    assert_equal 1, counts(server)["told_of_error"]
  end
end

# As much as is asked for; 1 GiB by HYPERION_STREAM_MIB=1024.
test "a long stream to a slow reader costs no memory", seconds: 600 do
  nr = Integer(ENV.fetch("HYPERION_STREAM_MIB", "64"))
  server = serve("-t", 3)
  pid = worker(server)
  socket = ask(server, "/each?n=#{nr * 16}&size=65536")
  read = 0
  before = nil
  peak = 0
  until read >= nr * MIB
    piece = socket.readpartial(MIB)
    read += piece.bytesize
    sleep 0.001
    # Once its buffers have been filled the first time.
    before ||= status(pid, "VmRSS") if read > 8 * MIB
    peak = [peak, status(pid, "VmRSS")].max if before
  end
  Tap.comment("#{nr} MiB: #{before} KiB at 8 MiB, at most #{peak} KiB later")
  assert peak - before < 4096, "#{peak - before} KiB more memory"
  socket.close
  eventually("the end") { counts(server)["closed"] == 1 }
end

test "200 streams at their clients' pace: another request has a thread, and threads go again", seconds: 90 do
  server = serve("-t", 2)
  pid = worker(server)
  Http.request(server.port, "GET", "/hello")
  before = status(pid, "Threads")
  slow = Array.new(200) { ask(server, "/each?n=1000&size=100000") }
  eventually("all of them to stream", seconds: 30) { counts(server)["asked"] == 200 }
  5.times { assert_equal "hello\n", Http.request(server.port, "GET", "/hello").body }
  assert status(pid, "Threads") >= before + 190
  slow.each(&:close)
  eventually("all bodies to be closed", seconds: 30) { counts(server)["closed"] == 200 }
  eventually("threads to end", seconds: 20) { status(pid, "Threads") <= before + 2 }
  # The two that are left serve as before.
  20.times { assert_equal "hello\n", Http.request(server.port, "GET", "/hello").body }
end

test "TERM: a stream that ends in time is finished", seconds: 30 do
  server = serve("-t", 2, "--graceful-timeout", 8, "--idle-keepalive", 1)
  socket = ask(server, "/each?n=10&size=1000&ms=100")
  text = socket.readpartial(100_000)
  server.signal(:TERM)
  text << socket.read
  assert text.end_with?("0\r\n\r\n"), "it was cut: #{text.bytesize} bytes"
  assert_equal 10, text.scan("3e8\r\n").size
  assert server.wait(seconds: 15).success?
end

test "TERM: a stream without end is cut at the graceful timeout", seconds: 30 do
  server = serve("-t", 2, "--graceful-timeout", 1)
  socket = ask(server, "/each?n=100000&size=10&ms=20")
  text = socket.readpartial(100_000)
  server.signal(:TERM)
  begin
    text << socket.read
  rescue Errno::ECONNRESET
    nil
  end
  refute text.end_with?("0\r\n\r\n")
  assert server.wait(seconds: 20)
end

test "hijack: what was sent behind the request comes along" do
  server = serve("-t", 3)
  http = Http.new(server.port)
  http.write("GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly")
  text = +""
  text << http.socket.readpartial(100) until text.end_with?("|")
  http.write("one\ntwo\n")
  text << http.socket.readpartial(100) until text.end_with?("two\n")
  # What was early may have been read here or be left in the socket: it is there once.
  assert_equal "earlyone\ntwo\n", text.delete("|")
  http.close
  eventually("both ends") { counts(server).values_at("hijack_closed", "closed", "told") == [1, 1, 1] }
  assert_equal 0, counts(server)["told_of_error"]
end

test "hijack behind a head" do
  server = serve("-t", 3)
  http = Http.new(server.port)
  http.write("GET /partial HTTP/1.1\r\nHost: x\r\n\r\n")
  text = http.socket.read
  assert_match(%r{\AHTTP/1.1 200 OK\r\n}, text)
  assert_match(/^connection: close\r\n/, text)
  refute_match(/^content-length|^transfer-encoding/i, text)
  assert text.end_with?("\r\n\r\nits own words")
end

test "hijack, given back: HTTP again, and again" do
  server = serve("-t", 3)
  http = Http.new(server.port)
  5.times do |i|
    # The next request comes in one piece with the last line, in parts, or later.
    behind = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    cut = [0, 10, behind.bytesize, 3, 17][i]
    http.write("GET /return HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: line\r\n\r\nline #{i}\n#{behind[0, cut]}")
    line = +""
    line << http.socket.readpartial(1) until line.end_with?("\n")
    assert_equal "got line #{i}\n", line
    http.write(behind[cut..])
    assert_equal "hello\n", http.answer.body
  end
  # As any other connection it is kept, and closed when it asks for that.
  http.write("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  assert_equal "hello\n", http.answer.body
  assert http.closed?
  assert_equal 5, counts(server)["given_back"]
end

test "threads 0: a body of call leaves when it is whole, and nothing is hijacked" do
  server = serve("-t", 0)
  answer = Http.request(server.port, "GET", "/call?n=10&size=50")
  assert_equal [200, "x" * 500, :length], [answer.status, answer.body, answer.framing]
  assert_equal 500, Http.request(server.port, "GET", "/hijack").status
  assert_equal 1, counts(server)["closed"]
  # Told on the same thread, after the last byte.
  eventually("word of both") { counts(server)["told"] == 2 }
end
