#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# HTTP/1.1 as a client sees it.

require_relative "client"
require "open3"

GET = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
HELLO = ["--constant", "/=hello\n", "--constant", "/long=#{"x" * 3000}"].freeze

def serve(mode, *args, **how)
  Server.start("--io-uring", mode, "-w", 1, *HELLO, *args, **how)
end

on_each_loop "keep-alive: many requests on one connection" do |mode|
  client = serve(mode).client
  20.times do
    answer = client.get
    assert_equal 200, answer.status
    assert_equal "hello\n", answer.body
    assert_equal "text/plain", answer.headers["content-type"]
    assert_match(/\A\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\z/, answer.headers["date"])
    refute answer.last?
  end
  answer = client.get("/", "Connection: close")
  assert answer.last?
  assert client.closed?
end

on_each_loop "100 requests in one write" do |mode|
  client = serve(mode).client
  client.write(GET * 99 + GET.sub("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
  answers = Array.new(100) { client.answer }
  assert_equal ["hello\n"], answers.map(&:body).uniq
  assert client.closed?
end

on_each_loop "100 requests in pieces of any size, answers in order" do |mode|
  server = serve(mode, *Array.new(20) { |i| ["--constant", "/#{i}=#{"#{i} " * (i * i)}"] }.flatten)
  client = server.client
  random = Random.new
  asked = Array.new(100) { random.rand(20) }
  bytes = asked.map { |i| "GET /#{i} HTTP/1.1\r\nHost: test\r\n\r\n" }.join
  bytes = bytes.byteslice(client.socket.write(bytes.byteslice(0, 1 + random.rand(200)))..) until bytes.empty?
  asked.each { |i| assert_equal "#{i} " * (i * i), client.answer.body, "seed #{random.seed}" }
end

on_each_loop "HTTP/1.0" do |mode|
  server = serve(mode)
  client = server.client
  client.write("GET / HTTP/1.0\r\n\r\n")
  answer = client.answer
  assert_equal 200, answer.status
  assert answer.last?
  assert client.closed?
  client = server.client
  2.times do
    client.write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert_equal "keep-alive", client.answer.headers["connection"]
  end
end

on_each_loop "HEAD has the head of GET and no body" do |mode|
  client = serve(mode).client
  %w[/ /long /none].each do |path|
    client.write("HEAD #{path} HTTP/1.1\r\nHost: test\r\n\r\n")
    head = client.answer(head: true)
    get = client.get(path)
    assert_equal get.status, head.status
    assert_equal get.headers.reject { |k,| k == "date" }, head.headers.reject { |k,| k == "date" }
  end
end

on_each_loop "404 and 405 keep the connection" do |mode|
  client = serve(mode).client
  assert_equal 404, client.get("/none").status
  client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n12345")
  answer = client.answer
  assert_equal 405, answer.status
  assert_equal %w[GET HEAD], answer.headers["allow"].split(", ").sort
  assert_equal 200, client.get.status
  assert_equal 200, client.get("/-/health").status
end

on_each_loop "chunked upload in pieces" do |mode|
  client = serve(mode).client
  client.write("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
  50.times { |i| client.write("#{(i + 1).to_s(16)};name=value\r\n#{"x" * (i + 1)}\r\n") }
  client.write("0\r\nTrailer: yes\r\n\r\n")
  assert_equal 405, client.answer.status
  assert_equal 200, client.get.status
end

on_each_loop "curl: Expect: 100-continue, upload, keep-alive" do |mode|
  needs("tool", "curl")
  server = serve(mode)
  Dir.mktmpdir do |dir|
    file = File.join(dir, "body")
    File.write(file, "x" * 2_000_000)
    url = "http://127.0.0.1:#{server.port}/"
    out, status = Open3.capture2e("curl", "-sv", "-H", "Expect: 100-continue", "--data-binary", "@#{file}", url)
    assert status.success?, out
    assert_match(/^< HTTP\/1\.1 100 Continue/, out)
    assert_match(/^< HTTP\/1\.1 405 /, out)
    out, status = Open3.capture2e("curl", "-sv", "-T", file, "-H", "Transfer-Encoding: chunked", url, "-o", File::NULL,
                                  "--next", "-s", url)
    assert status.success?, out
    assert_include out, "hello\n"
    assert_match(/Re-using existing connection/, out)
  end
end

on_each_loop "too much body: 413 can be read while the client still sends" do |mode|
  server = serve(mode, "--max-body-bytes", 1000)
  ["Content-Length: 50000000", "Transfer-Encoding: chunked"].each do |framing|
    client = server.client
    client.write("POST / HTTP/1.1\r\nHost: test\r\n#{framing}\r\n\r\n")
    sent = 0
    piece = framing.start_with?("T") ? "8000\r\n#{"x" * 0x8000}\r\n" : "x" * 0x8000
    100.times { sent += client.socket.write(piece) }
    answer = client.answer
    assert_equal 413, answer.status
    assert_include answer.body, "max_body_bytes"
    assert answer.last?
    # The server still takes what comes; it does not reset.
    client.write(piece)
    assert client.closed?
  end
end

on_each_loop "slow head, slow body, slow request: 408", seconds: 20 do |mode|
  server = serve(mode, "--read-timeout", 1, "--max-request-read-seconds", 2)
  head = server.client.write("GET / HTTP/1.1\r\nHos")
  body = server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n123")
  steady = server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n")
  20.times do
    steady.socket.write("x")
    break if steady.socket.wait_readable(0.3)
  end
  [head, body, steady].each do |client|
    answer = client.answer
    assert_equal 408, answer.status
    assert answer.last?
    assert client.closed?
  end
end

on_each_loop "idle connections are closed without a word" do |mode|
  server = serve(mode, "--idle-keepalive", 1, "--read-timeout", 1)
  used = server.client
  assert_equal 200, used.get.status
  fresh = server.client
  assert used.closed?
  assert fresh.closed?
end

on_each_loop "Unix socket" do |mode|
  path = File.join(open_folder, "app.sock")
  server = serve(mode, bind: "unix://#{path}")
  eventually("the socket") { File.socket?(path) && server.log.include?("workers=") }
  client = Client.new(eventually("a connection") { UNIXSocket.new(path) rescue nil })
  3.times { assert_equal "hello\n", client.get.body }
  client.close
  assert server.stop.success?
  refute File.exist?(path)
end

on_each_loop "IPv6" do |mode|
  needs("ipv6")
  port = Server.free_port
  server = serve(mode, port: port, bind: "tcp://[::1]:#{port}")
  server.wait_until_listening
  client = Client.new(TCPSocket.new("::1", port))
  assert_equal "hello\n", client.get.body
  client.close
end

on_each_loop "several addresses, several workers" do |mode|
  path = File.join(open_folder, "app.sock")
  other = Server.free_port
  server = serve(mode, "-w", 2, "-b", "tcp://127.0.0.1:#{other}", "-b", "unix://#{path}", "-b", "tcp://0.0.0.0:#{Server.free_port}")
  eventually("the other addresses") { File.socket?(path) && !Server.unused?(other) }
  10.times do
    [TCPSocket.new("127.0.0.1", server.port), TCPSocket.new("127.0.0.1", other), UNIXSocket.new(path)].each do |socket|
      assert_equal "hello\n", Client.new(socket).get.body
      socket.close
    end
  end
end

on_each_loop "a client that goes within a request leaves the others alone" do |mode|
  server = serve(mode)
  steady = server.client
  50.times do |i|
    server.connect do |socket|
      socket.write(i.even? ? "GET / HTTP/1.1\r\nHo" : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
      socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii")) if i % 3 == 0
    end
    assert_equal 200, steady.get.status
  end
end
