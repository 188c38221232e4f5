#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The command line and the environment: what is refused, how, and what is said.

require_relative "client"
require "open3"

BINARY = File.expand_path(ENV.fetch("HYPERION_BIN", File.join(Server::BUILD, "hyperion-bpf")), Server::ROOT)

# [stdout, stderr, exit status] of a call that ends by itself.
def call(*args, env: {})
  out, err, status = Open3.capture3(env, BINARY, *args.map(&:to_s), stdin_data: "")
  [out, err, status.exitstatus]
end

# Option, values that are refused, what the way out must name.
REFUSED = [
  ["--bind", %w[127.0.0.1:80 http://127.0.0.1:80 udp://127.0.0.1:80], /tcp:\/\/.*unix:\/\//],
  ["--bind", %w[tcp://127.0.0.1 tcp://::1:80 tcp://:80 tcp://[127.0.0.1]:80], /HOST:PORT/],
  ["--bind", %w[tcp://127.0.0.1:0 tcp://127.0.0.1:65536 tcp://127.0.0.1:x tcp://127.0.0.1:-1], /from 1 to 65535/],
  ["--bind", %w[tcp://no.such.host.invalid:80], /an address or a name that resolves/],
  ["--bind", ["unix://relative/path", "unix://", "unix:///#{"x" * 120}"], /absolute path.*107/],
  ["--port", ["0", "65536", "-1", "x", "", "80x", "1e3", " 80", "+80", "0x50"], /from 1 to 65535/],
  ["--workers", ["0", "-1", "257", "x", "", "1.5", "99999999999999999999"], /from 1 to 256/],
  ["--threads", ["-1", "257", "x", ""], /number from 0 .*to 256/],
  ["--max-pending", %w[0 -1 x], /number from \d+ to \d+/],
  ["--max-in-flight-per-conn", ["0", "-1", "1001", "x", "", "AUTO"], /from 1 to 1000, auto .*or off/],
  ["--max-request-seconds", ["0", "-1", "86401", "1.5", ""], /from 1 to 86400, or off/],
  ["--constant", ["x", "no-slash=text", "", "="], %r{PATH=TEXT}],
  ["--io-uring", ["", "yes", "1", "ON"], /auto, on or off/],
  ["--max-connections", ["0", "-1", "10000001", "x", ""], /from 1 to 10000000/],
  ["--max-header-bytes", ["0", "1023", "1048577", "64k", ""], /from 1024 to 1048576/],
  ["--max-body-bytes", ["-1", "16M", "", "9223372036854775808"], /bytes/],
  ["--read-timeout", ["0", "-1", "86401", "1.5", "1s", ""], /from 1 to 86400/],
  ["--max-request-read-seconds", ["0", "86401", "x"], /from 1 to 86400/],
  ["--idle-keepalive", ["0", "86401", "x"], /from 1 to 86400/],
  ["--graceful-timeout", ["0", "86401", "x"], /from 1 to 86400/],
  ["--log-level", ["", "verbose", "INFO"], /debug, info, warn or error/],
  ["--log-format", ["", "xml", "JSON"], /text, json, common, combined, auto, or a template of \{time\} .*\{sent\}/],
  ["--log-format", ["{nope}", "{status} {", "{method}{Status}"], /template of the fields \{time\} .*\{queue_ms\} .*\{sent\}/],
  ["--log-file", ["", "x" * 256], /not empty and not longer than 255 bytes/],
  ["--error-log", ["", "x" * 256], /not empty and not longer than 255 bytes/],
  ["--pidfile", [""], /file/],
].freeze

REFUSED.each do |option, values, way_out|
  test "#{option} refuses #{values.map { |v| v.empty? ? '""' : v[0, 40] }.join(" ")}" do
    values.each do |value|
      [[option, value], ["#{option}=#{value}"]].each do |words|
        out, err, status = call("--no-app", *words)
        assert_equal 2, status, words.inspect
        assert_equal "", out
        assert_equal 1, err.lines.size, err
        assert_include err, option
        assert_include err, value
        assert_match(way_out, err)
      end
    end
  end
end

test "what is no option at all" do
  [%w[--bogus], %w[-x], %w[--workers], %w[-b], %w[--pin=yes]].each do |words|
    out, err, status = call("--no-app", *words)
    assert_equal 2, status, words.inspect
    assert_equal "", out
    assert_match(/--help/, err)
  end
end

test "too many addresses, too many constants" do
  _, err, status = call("--no-app", *Array.new(17) { |i| ["-b", "tcp://127.0.0.1:#{1000 + i}"] }.flatten)
  assert_equal 2, status
  assert_match(/at most 16/, err)
  _, err, status = call("--no-app", *Array.new(65) { |i| ["--constant", "/#{i}=x"] }.flatten)
  assert_equal 2, status
  assert_match(/at most 64/, err)
end

test "the edges of what is allowed" do
  [["--workers", 256], ["--workers", 1], ["--port", 1], ["--port", 65_535], ["--max-connections", 1],
   ["--max-header-bytes", 1024], ["--max-header-bytes", 1_048_576], ["--max-body-bytes", 0],
   ["--max-body-bytes", 2**63 - 1], ["--read-timeout", 1], ["--read-timeout", 86_400], ["--idle-keepalive", 86_400],
   ["--max-in-flight-per-conn", 1], ["--max-in-flight-per-conn", "auto"], ["--max-in-flight-per-conn", "off"],
   ["--max-request-seconds", 86_400], ["--max-request-seconds", "off"], ["--constant", "/="], ["--io-uring", "off"], ["--bind", "tcp://[::1]:80"], ["--bind", "unix:///run/x"]].each do |words|
    _, err, status = call("--no-app", "--check", *words)
    assert_equal 0, status, "#{words.inspect}: #{err}"
  end
end

test "--help names every option, --version the version" do
  %w[--help -h].each do |word|
    out, err, status = call(word)
    assert_equal [0, ""], [status, err]
    (REFUSED.map(&:first) + %w[--pin --check --version --help --log-requests --no-log-requests --request-id
                                  --no-request-id --no-app --rebalance --no-rebalance]).each do |option|
      assert_match(/^ .*#{option}\b/, out)
    end
    %w[TERM INT QUIT HUP TTIN TTOU HYPERION_IO_URING HYPERION_LOG_LEVEL].each { |name| assert_include out, name }
    assert out.lines.all? { |line| line.chomp.size <= 140 }
  end
  %w[--version -v].each do |word|
    out, err, status = call(word)
    assert_equal [0, ""], [status, err]
    assert_match(/\Ahyperion-bpf \d+\.\d+\.\d+\n\z/, out)
  end
end

test "--check says what would run and binds nothing" do
  busy = TCPServer.new("127.0.0.1", 0)
  port = Server.free_port
  out, err, status = call("--no-app", "--check", "-b", "tcp://127.0.0.1:#{port}", "-b", "unix:///nonexistent/s", "-w", 3,
                          "--io-uring", "off")
  assert_equal 0, status, err
  assert_include out, "bind tcp://127.0.0.1:#{port}\n"
  assert_include out, "bind unix:///nonexistent/s\n"
  assert_include out, "workers 3\n"
  assert_include out, "loop epoll\n"
  assert Server.unused?(port)
  busy.close
end

test "the environment goes before the command line" do
  out, = call("--no-app", "--check", "--io-uring", "auto", env: { "HYPERION_IO_URING" => "off" })
  assert_include out, "loop epoll\n"
  server = Server.start("--no-log-requests", "--log-level", "error", env: { "HYPERION_LOG_REQUESTS" => "1", "HYPERION_LOG_LEVEL" => "info" })
  server.client.get("/-/health")
  eventually("a line") { server.log.include?('"path":"/-/health"') }
  eventually("an info line") { server.log.include?("listening on") }
end

test "unknown values in the environment warn and are ignored" do
  env = { "HYPERION_IO_URING" => "perhaps", "HYPERION_LOG_FORMAT" => "xml", "HYPERION_LOG_REQUESTS" => "maybe",
          "HYPERION_LOG_LEVEL" => "" }
  server = Server.start("--io-uring", "off", env: env)
  assert_equal 200, server.client.get("/-/health").status
  env.each_key { |name| assert_match(/warn: .*ignored #{name}=#{env[name]}: .*allowed is/, server.log) }
  eventually("its line") { server.log.include?("loop=epoll") }
end

test "a busy port: says which, exits 1" do
  busy = TCPServer.new("127.0.0.1", 0)
  uri = "tcp://127.0.0.1:#{busy.addr[1]}"
  server = Server.start("-w", 2, bind: uri)
  assert_equal 1, server.wait.exitstatus
  assert_match(/error: listen: --bind #{uri}: Address already in use; another process listens there/, server.log)
  refute_match(/listening on/, server.log)
  busy.close
end

test "a second server of ours on the same port is refused, the first goes on" do
  first = Server.start("-w", 2)
  second = Server.start("-w", 2, port: first.port, bind: "tcp://127.0.0.1:#{first.port}")
  assert_equal 1, second.wait.exitstatus
  10.times { assert_equal 200, first.client.get("/-/health", "Connection: close").status }
end

test "a Unix socket that somebody serves is left to them" do
  path = File.join(open_folder, "s")
  first = Server.start(bind: "unix://#{path}")
  eventually("the socket") { File.socket?(path) }
  second = Server.start(bind: "unix://#{path}")
  assert_equal 1, second.wait.exitstatus
  assert_match(/unix:\/\/#{path}: Address already in use/, second.log)
  client = Client.new(UNIXSocket.new(path))
  assert_equal 200, client.get("/-/health").status
  client.close
  assert first.stop.success?
  refute File.exist?(path)
end

test "a Unix socket that a crash left is taken over" do
  path = File.join(open_folder, "s")
  first = Server.start("-w", 1, bind: "unix://#{path}")
  eventually("the socket") { File.socket?(path) && first.workers.size == 1 }
  worker = first.workers.first
  first.stop(:KILL)
  eventually("its worker to end") { !running?(worker) }
  assert File.exist?(path)
  Server.start(bind: "unix://#{path}")
  client = eventually("the new one") { Client.new(UNIXSocket.new(path)) rescue nil }
  assert_equal 200, client.get("/-/health").status
  client.close
end

test "addresses that cannot be had" do
  [["tcp://192.0.2.1:9999", /no interface of this host/], ["unix:///nonexistent/folder/s", /No such file/]].each do |uri, why|
    server = Server.start(bind: uri)
    assert_equal 1, server.wait.exitstatus
    assert_match(/--bind #{Regexp.escape(uri)}: .*#{why}/, server.log)
  end
end

test "--pidfile" do
  path = File.join(open_folder, "pid")
  server = Server.start("--pidfile", path)
  eventually("the file") { File.exist?(path) && File.read(path) == "#{server.pid}\n" }
  assert server.stop.success?
  refute File.exist?(path)
  server = Server.start("--pidfile", "/nonexistent/folder/pid", wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(%r{--pidfile /nonexistent/folder/pid: No such file}, server.log)
end

test "io_uring is used where it is allowed" do
  needs("io_uring")
  server = Server.start
  eventually("its line") { server.log.include?("loop=io_uring") }
  refute_match(/io_uring:/, server.log)
end

test "io_uring refused: one line names it, epoll serves" do
  needs("root") unless Process.euid.zero? || Server::MODE == "normal"
  server = Server.start("-w", 2, no_uring: true)
  assert_equal 200, server.client.get("/-/health").status
  lines = server.log.lines.grep(/io_uring/)
  assert_equal 1, lines.size, server.log
  assert_match(/io_uring: refused: .*io_uring_disabled.*seccomp.*using epoll/, lines.first)
  eventually("its line") { server.log.include?("loop=epoll") }
end

test "io_uring refused and asked for: exits 1" do
  server = Server.start("--io-uring", "on", no_uring: true, wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(/error: io_uring: refused: .*seccomp.*--io-uring on needs it/, server.log)
  refute_match(/listening on/, server.log)
end

test "--io-uring off says nothing of it" do
  server = Server.start("--io-uring", "off", no_uring: true)
  assert_equal 200, server.client.get("/-/health").status
  refute_match(/io_uring/, server.log)
end
