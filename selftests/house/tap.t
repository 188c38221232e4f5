#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The helpers of the test scripts: what a script that goes wrong says, and the server they drive.

require_relative "../harness/tap"
require "open3"

# Runs @body as a test script; answers [output, exit status].
def script(body, *args)
  Dir.mktmpdir do |dir|
    path = File.join(dir, "sample.t")
    File.write(path, "require #{File.join(Server::ROOT, "selftests/harness/tap").inspect}\n#{body}")
    output, status = Open3.capture2e("ruby", path, *args)
    return [output, status.exitstatus]
  end
end

test "a passing script" do
  output, status = script("test('a') { assert_equal 1, 1 }\ntest('b') { assert true }")
  assert_equal "TAP version 13\nok 1 - a\nok 2 - b\n1..2\n", output
  assert_equal 0, status
end

test "each check can fail" do
  ["assert nil", "refute 1", "assert_equal 1, 2", "assert_match(/x/, 'y')", "assert_include [1], 2", "flunk 'no'",
   "assert_raise(ArgumentError) { 1 }", "eventually('never', seconds: 0.05) { false }", "raise 'oops'", "NoSuchName"].each do |check|
    output, status = script("test('a') { #{check} }\ntest('b') { assert true }")
    assert_equal 1, status, check
    assert_include output, "\nnot ok 1 - a\nok 2 - b\n1..2\n", check
  end
end

test "a failure says where" do
  output, = script("\ntest('a') do\n  assert_equal 1, 2\nend")
  assert_match(/^# .*sample\.t:4: expected$/, output)
end

test "skips, names, an end outside of a case" do
  assert_include script("test('a') { skip 'tool: x' }").first, "ok 1 - a # SKIP tool: x\n"
  assert_include script("test('a') { needs 'tool', 'no-such-tool' }").first, "# SKIP tool: no-such-tool\n"
  assert_equal "a\nb\n", script("test('a') { raise }\ntest('b') { }", "--list").first
  assert_equal "TAP version 13\nok 1 - b\n1..1\n", script("test('a') { raise }\ntest('b') { }", "b").first
  assert_equal 1, script("test('a') { }", "nothing").last
  output, status = script("test('a') { }\nraise 'early'")
  refute_match(/^1\.\./, output)
  assert_equal 1, status
end

test "a case has a time limit" do
  output, status = script("test('a', seconds: 0.2) { sleep 1000 }")
  assert_include output, "not ok 1 - a\n"
  assert_equal 1, status
end

GET = "GET /-/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

test "the server starts, answers, stops, and its log is at hand" do
  server = Server.start("-w", "1")
  assert_match(%r{\AHTTP/1.1 200 }, server.exchange(GET))
  assert_equal 1, server.workers.size
  worker = server.workers.first
  assert server.stop.success?, server.log
  refute File.exist?("/proc/#{worker}")
  assert_include server.log, "listening"
end

test "two servers have two ports, and go with the case" do
  a = Server.start("-w", "1")
  b = Server.start("-w", "1")
  refute a.port == b.port
  assert_equal [a, b], Server.running
end

test "none is left of the case before" do
  assert_equal [], Server.running
end

test "io_uring can be refused, and root" do
  server = Server.start("-w", "1", no_uring: true)
  eventually("what it says once it serves") { server.log.include?("loop=epoll") }
  assert_match(%r{\AHTTP/1.1 200 }, server.exchange(GET))
  needs "root"
  server = Server.start("-w", "1", nobody: true)
  assert_equal 65_534, File.stat("/proc/#{server.pid}").uid
  assert_match(%r{\AHTTP/1.1 200 }, server.exchange(GET))
end

test "a server that does not come up is an error with its log" do
  error = assert_raise(Server::DidNotStart) { Server.start("--no-such-option") }
  assert_include error.message, "--no-such-option"
end
