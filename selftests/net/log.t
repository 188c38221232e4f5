#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The access log: one line per request, whole, escaped, and never in the way.

require_relative "client"
require "fcntl"
require "io/wait"
require "json"
require "time"

def serve(mode, *args, **how)
  Server.start("--io-uring", mode, "-w", 1, "--constant", "/=hello\n", *args, **how)
end

# Over a connection of its own: a stop need not wait for it.
def once(server, *args)
  client = Client.new(server.connect)
  client.get(*args)
ensure
  client&.close
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
  5.times { once(server) }
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
  client.close
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

# --- formats ---

on_each_loop "common, combined and a template" do |mode|
  want = {
    "common" => %r{\A127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\?b=c HTTP/1\.1" 404 \d+\n\z},
    "combined" => %r{\A127\.0\.0\.1 - - \[[^\]]+\] "GET /a\?b=c HTTP/1\.1" 404 \d+ "http://x/" "a \\"b\\""\n\z},
    "{method} {path_only} <{query}> {status} {remote_addr} {{}}" => %r{\AGET /a <b=c> 404 127\.0\.0\.1 \{\}\n\z},
  }
  want.each do |format, line|
    server = serve(mode, "--log-format", format, "--log-file", "access.log", chdir: open_folder)
    once(server, "/a?b=c", "Referer: http://x/", 'User-Agent: a "b"')
    assert server.stop.success?
    assert_match line, File.read(File.join(server.folder, "access.log"))
  end
end

test "formats that are refused" do
  { "{nope}" => /--log-format \{nope\}: allowed is a template of the fields \{time\} .*\{queue_ms\}.*\{sent\}/,
    "xml" => /--log-format xml: allowed is text, json, common, combined, auto, or a template/,
    "{status" => /--log-format \{status: allowed is a template/ }.each do |format, message|
    server = Server.start("--log-format", format, wait: false)
    assert_equal 2, server.wait.exitstatus
    assert_match message, server.log
  end
end

on_each_loop "request ids: the client's if it is sane, else one of ours" do |mode|
  server = serve(mode, "--log-format", "{request_id} {path}", "--log-file", "access.log", chdir: open_folder)
  client = server.client
  sane = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
  # C's own answers do not carry it.
  refute client.get("/1", "X-Request-Id: #{sane}").headers.key?("x-request-id")
  client.get("/2", "X-Request-Id: a\"b")
  client.get("/3", "X-Request-Id: #{"x" * 129}")
  client.get("/4", "X-Request-Id: one", "X-Request-Id: two")
  client.get("/5", "x-request-id: #{"x" * 128}")
  client.get("/6")
  client.get("/", "X-Request-Id: #{sane}") # a constant
  client.close
  assert server.stop.success?
  ids = File.readlines(File.join(server.folder, "access.log"), chomp: true).map { |line| line.split.first }
  assert_equal [sane, "x" * 128, sane], ids.values_at(0, 4, 6)
  made = ids.values_at(1, 2, 3, 5)
  made.each { |id| assert_match(/\A[A-P][\w-]{21}\z/, id) }
  assert_equal made, made.uniq
end

on_each_loop "--no-request-id" do |mode|
  server = serve(mode, "--no-request-id", "--log-format", "id={request_id}", "--log-file", "access.log", chdir: open_folder)
  once(server, "/", "X-Request-Id: abc")
  assert server.stop.success?
  assert_equal "id=-\n", File.read(File.join(server.folder, "access.log"))
end

# --- files ---

# The lines of all files whose names begin so, oldest first.
def lines_of(server, name)
  Dir[File.join(server.folder, "#{name}*")].sort_by { |f| File.mtime(f) }.flat_map { |f| File.readlines(f) }
end

def rotate(server, name, number)
  path = File.join(server.folder, name)
  File.rename(path, "#{path}.#{number}")
  server.signal(:HUP)
  eventually("a new #{name}") { File.exist?(path) }
end

on_each_loop "HUP opens renamed files anew, and not one line is lost or torn", seconds: 30 do |mode|
  server = serve(mode, "-w", 2, "--log-file", "access.log", "--error-log", "error.log", "--log-format", "{path} {worker}", chdir: open_folder)
  stop = false
  counts = Array.new(3) { 0 }
  threads = counts.each_index.map do |t|
    Thread.new do
      until stop
        client = Client.new(server.connect)
        20.times { client.get("/#{t}/#{counts[t] += 1}") }
        client.close
      end
    end
  end
  5.times do |i|
    before = counts.sum
    eventually("requests") { counts.sum > before + 50 }
    rotate(server, "access.log", i)
    # All workers have moved: what is asked for now goes to the new file.
    eventually("lines in the new file") { File.readlines(File.join(server.folder, "access.log")).map { |l| l.split[1] }.uniq.size == 2 }
  end
  stop = true
  threads.each(&:join)
  assert server.stop.success?
  lines = lines_of(server, "access.log")
  lines.each { |line| assert_match(%r{\A/\d/\d+ [01]\n\z}, line) }
  asked = counts.each_with_index.flat_map { |count, t| (1..count).map { |n| "/#{t}/#{n}" } }
  assert_equal asked.sort, lines.map { |line| line.split.first }.sort
  assert_equal 6, Dir[File.join(server.folder, "access.log*")].size
end

test "the error log in a file, with the time" do
  # What is said before it serves goes to stderr: nothing is to be said there.
  server = Server.start("--no-app", "-w", 1, "--io-uring", "off", "--no-bpf", "--error-log", "error.log", chdir: open_folder)
  path = File.join(server.folder, "error.log")
  eventually("a line") { File.read(path).include?("listening on") }
  rotate(server, "error.log", 1)
  eventually("a line in the new file") { File.read(path).include?("log: files opened anew") }
  Process.kill(:KILL, server.workers.first)
  eventually("the death of a worker") { File.read(path).include?("killed by signal 9") }
  assert server.stop.success?
  (File.readlines(path) + File.readlines("#{path}.1")).each { |line| assert_match(/\A20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ \[\d+\] \w+: \S/, line) }
  assert_equal "", server.log
end

test "files that cannot be opened stop the start" do
  folder = open_folder
  File.mkfifo(File.join(folder, "pipe"))
  File.chmod(0o666, File.join(folder, "pipe"))
  [["--log-file", "/nonexistent/a", /--log-file \/nonexistent\/a: No such file or directory/],
   ["--error-log", folder, /--error-log #{folder}: Is a directory/],
   ["--log-file", File.join(folder, "pipe"), /--log-file \S+pipe: No such device or address; nobody reads this pipe/]].each do |option, path, message|
    server = Server.start("--no-app", option, path, wait: false)
    assert_equal 1, server.wait.exitstatus
    assert_match message, server.log
    assert Server.unused?(server.port)
  end
end

on_each_loop "a folder that went away leaves the open file in use" do |mode|
  folder = open_folder
  Dir.mkdir(File.join(folder, "logs"))
  File.chmod(0o777, File.join(folder, "logs"))
  server = serve(mode, "--log-file", "logs/access.log", "--log-format", "{path}", chdir: folder)
  client = server.client
  client.get("/before")
  File.rename(File.join(folder, "logs"), File.join(folder, "old"))
  server.signal(:HUP)
  eventually("a word about it") { server.log.match?(%r{error: log: --log-file logs/access.log: No such file or directory}) }
  client.get("/after")
  client.close
  assert server.stop.success?
  assert_equal "/before\n/after\n", File.read(File.join(folder, "old/access.log"))
end

# The worker may neither open the file nor reach its folder.
on_each_loop "workers of another user" do |mode|
  needs("root")
  folder = Dir.mktmpdir("hyperion-root-only")
  Tap.after { FileUtils.remove_entry(folder, true) }
  server = serve(mode, "-w", 2, "--user", "nobody", "--log-file", "#{folder}/access.log", "--error-log", "#{folder}/error.log",
                 "--log-format", "{path}", chdir: folder)
  # A worker is root's for a moment, and its lines are on their way for another.
  eventually("two workers of that user") { server.workers.map { |pid| process_status(pid, "Uid") } == [65_534] * 2 }
  20.times { |i| once(server, "/a#{i}") }
  eventually("their lines") { File.readlines("#{folder}/access.log").size == 20 }
  rotate(server, "access.log", 1)
  eventually("lines of both workers") { once(server, "/b"); File.size?("#{folder}/access.log") }
  assert server.stop.success?
  assert_equal((0..19).map { |i| "/a#{i}\n" }.sort, File.readlines("#{folder}/access.log.1").grep(/a/).sort)
  assert_equal 0, File.stat("#{folder}/access.log").uid
end

# --- nobody reads ---

TOLD = /log: (\d+) lines of the access log dropped/

on_each_loop "dropped lines are told while requests go on, and each line is either read or told", seconds: 30 do |mode|
  reader, writer = IO.pipe
  server = serve(mode, "--log-format", "{path}", out: writer)
  writer.close
  client = server.client
  count = 0
  12_000.times { client.get("/#{count += 1}/#{"x" * 40}") }
  eventually("a word about dropped lines") { server.log.match?(TOLD) }
  # Once a second at most.
  assert server.log.scan(TOLD).size <= 1 + (Process.clock_gettime(Process::CLOCK_MONOTONIC) - server.started_at), server.log
  text = Thread.new { reader.read }
  200.times { client.get("/#{count += 1}") }
  client.close
  assert server.stop.success?
  told = server.log.scan(TOLD).sum { |n,| n.to_i }
  assert told.positive?
  assert_equal count, text.value.lines.size + told
end

# Both of them lead into one pipe, as 2>&1 does, which is full.
on_each_loop "access log and error log in one full pipe", seconds: 30 do |mode|
  reader, writer = IO.pipe
  server = serve(mode, "--log-format", "{path}", "--log-level", "debug", out: writer, err: writer)
  client = server.client
  count = 0
  12_000.times { assert_equal 404, client.get("/#{count += 1}/#{"x" * 40}").status }
  refute writer.wait_writable(0), "the pipe is not full"
  # Its description is shared with us, and as it was.
  assert_equal 0, writer.fcntl(Fcntl::F_GETFL) & Fcntl::O_NONBLOCK
  assert_equal 200, once(server).status
  count += 1
  text = Thread.new { reader.read }
  # What was not told in vain is told now.
  eventually("room") { writer.wait_writable(0) }
  writer.close
  client.close
  assert server.stop.success?
  lines = text.value.lines
  told = lines.filter_map { |line| line[TOLD, 1]&.to_i }.sum
  assert told.positive?
  assert_equal count, lines.grep(%r{\A/}).size + told
end

on_each_loop "a stop does not wait for the reader of the log", seconds: 20 do |mode|
  _reader, writer = IO.pipe
  server = serve(mode, "--log-format", "{path}", "--graceful-timeout", 600, out: writer)
  writer.close
  client = server.client
  4000.times { |i| client.get("/#{i}/#{"x" * 100}") }
  client.close
  assert server.stop.success?
  # What was left in the buffers is told as well.
  last = server.log.scan(TOLD).sum { |n,| n.to_i }
  assert last > 3000, server.log
  refute_match(/killing|graceful_timeout/, server.log)
end
