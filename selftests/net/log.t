#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The access log: one line per request, whole, escaped, and never in the way.

require_relative "client"
require "json"
require "time"

def serve(mode, *args, **how)
  Server.start("--io-uring", mode, "-w", 1, "--constant", "/=hello\n", *args, **how)
end

on_each_loop "JSON lines" do |mode|
  server = serve(mode, "--log-format", "json")
  client = server.client
  before = Time.now - 1
  length = client.get("/?q=1#{"&x=y" * 10}").then { |a| a.body.size }
  client.get("/none")
  client.write("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
  client.answer
  assert_equal 400, server.client.write("nonsense\r\n\r\n").answer.status
  lines = eventually("four lines") { server.log.lines.grep(/\A\{.*\}$/).then { |l| l if l.size == 4 } }.map { |l| JSON.parse(l) }
  assert_equal [200, 404, 405, 400], lines.map { |l| l["status"] }
  assert_equal ["GET", "GET", "DELETE"], lines.first(3).map { |l| l["method"] }
  assert_equal "/?q=1#{"&x=y" * 10}", lines[0]["path"]
  assert lines[0]["bytes"] > length
  lines.each do |line|
    assert (before..Time.now + 1).cover?(Time.iso8601(line["time"])), line["time"]
    assert line["total_ms"] >= 0
    assert_equal 0, line["worker"]
    assert_equal true, line["sent"]
  end
end

on_each_loop "text lines" do |mode|
  server = serve(mode, "--log-format", "text")
  server.client.get("/a?b=c")
  line = eventually("a line") { server.log.lines.grep(/method=/).first }
  assert_match(/\A\S+Z .*method=GET path="\/a\?b=c" status=404 bytes=\d+ total_ms=\d+\.\d{3} queue_ms=- app_ms=- worker=0 id=[\w-]{22} remote=127\.0\.0\.1 sent=true\n\z/, line)
end

on_each_loop "what a client sends cannot break a line" do |mode|
  %w[json text].each do |format|
    server = serve(mode, "--log-format", format)
    targets = ["/\"quotes\"", "/back\\slash", "/\xC3\xA9\xFF\x80".b, "/';rm", "/%0a%00", "/\xE2\x80\xA8".b,
               "/#{"x" * 8000}"]
    client = server.client
    statuses = targets.map { |t| client.write("GET ".b + t + " HTTP/1.1\r\nHost: a\r\n\r\n".b).answer.status }
    # Those with control bytes are refused; they have a line all the same.
    bad = ["GET /a\x01b HTTP/1.1\r\n\r\n", "GET /a\x1b[31m HTTP/1.1\r\n\r\n", "G\x07T / HTTP/1.1\r\n\r\n"]
    bad.each { |bytes| server.client.write(bytes).answer }
    lines = eventually("#{targets.size + bad.size} lines") do
      server.log.b.lines.grep(/"status"|status=/n).then { |l| l if l.size == targets.size + bad.size }
    end
    lines.each do |line|
      refute_match(/[\x00-\x09\x0b-\x1f\x7f]/n, line)
      assert line.bytesize <= 2048, "#{line.bytesize} bytes"
    end
    next if format == "text"

    paths = lines.map { |line| JSON.parse(line.force_encoding("UTF-8"))["path"] }
    # Bytes become the code points of the same number: nothing is lost.
    targets.each_with_index do |target, i|
      next if statuses[i] == 400

      expected = target.b.bytes.pack("U*")
      assert paths.any? { |p| p == expected || (p.size > 500 && expected.start_with?(p)) }, "#{expected[0, 50]} in #{paths.map { |p| p[0, 50] }}"
    end
  end
end

on_each_loop "--no-log-requests" do |mode|
  server = serve(mode, "--no-log-requests")
  5.times { server.client.get }
  assert server.stop.success?
  refute_match(/GET/, server.log)
end

# Whoever reads slowly has the pipe full most of the time: lines may be missing, the others are whole.
on_each_loop "several workers and a slow reader: no line is torn", seconds: 30 do |mode|
  reader, writer = IO.pipe
  server = serve(mode, "-w", 4, "--log-format", "json", out: writer)
  writer.close
  text = Thread.new do
    all = +""
    while (some = reader.read(4096))
      all << some
      sleep 0.003
    end
    all
  end
  count = 4000
  Array.new(8) do |i|
    Thread.new do
      (count / 8 / 50).times do
        client = Client.new(server.connect)
        50.times { |n| client.get("/#{i}/#{"x" * (n * 7)}") }
        client.close
      end
    end
  end.each(&:join)
  assert server.stop.success?
  lines = text.value.lines
  assert lines.size.between?(100, count), lines.size.to_s
  lines.each { |line| JSON.parse(line) }
  assert_equal [0, 1, 2, 3], lines.map { |line| JSON.parse(line)["worker"] }.uniq.sort
end

on_each_loop "a log that nobody reads delays nobody and loses only lines", seconds: 30 do |mode|
  reader, writer = IO.pipe
  server = serve(mode, "--log-format", "json", out: writer)
  writer.close
  client = server.client
  # Far more than the pipe and both buffers hold.
  4000.times { |i| assert_equal 404, client.get("/#{i}/#{"x" * 100}").status }
  # Somebody reads again: what is there is whole and in order, and it goes on.
  text = +""
  1000.times do |i|
    client.get("/again/#{i}")
    text << reader.read_nonblock(1 << 20, exception: false).then { |s| s.is_a?(String) ? s : "" }
    break if text.include?("/again/")
  end
  assert_include text, "/again/"
  server.signal(:TERM)
  text << reader.read
  assert server.wait.success?
  paths = text.lines.map { |line| JSON.parse(line)["path"] }
  seen = paths.grep_v(/again/).map { |p| p[%r{\A/(\d+)/}, 1].to_i }
  assert seen.size.between?(100, 3999), "#{seen.size} lines"
  assert_equal seen.sort, seen
end

on_each_loop "a log whose reader is gone" do |mode|
  reader, writer = IO.pipe
  server = serve(mode, "--log-format", "json", out: writer)
  writer.close
  client = server.client
  client.get
  reader.close
  200.times { assert_equal 200, client.get.status }
  client.close
  assert server.stop.success?
end

on_each_loop "a log that nobody reads does not hold up a stop for ever", seconds: 20 do |mode|
  _reader, writer = IO.pipe
  server = serve(mode, "--log-format", "json", "--graceful-timeout", 1, out: writer)
  writer.close
  client = server.client
  2000.times { |i| client.get("/#{i}/#{"x" * 100}") }
  client.close
  assert server.stop.success?
end

on_each_loop "an answer that could not be sent is marked" do |mode|
  server = serve(mode, "--constant", "/big=#{"x" * 100_000}")
  server.connect do |socket|
    socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_RCVBUF, 4096)
    socket.write("GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    socket.wait_readable(5)
    socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii"))
  end
  cut = eventually("a line") { server.log.lines.grep(/"sent":false/).first }
  assert_equal "/big", JSON.parse(cut)["path"]
end
