#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# hyperion-ctl backtrace: what a worker's threads are at, also when they are all busy, or one keeps Ruby's lock.

require_relative "ctl"

# A handler that marks its begin, does that, and ends when the file "go" is there.
def begin_handler(server, name, code, path: "/#{name}")
  client = server.client
  body = "def #{name}; #{code}; end; File.write('#{name}', ''); #{name}; 1"
  client.write("POST #{path}?secret=1 HTTP/1.1\r\nHost: test\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
  eventually("the handler #{name}") { File.exist?(File.join(server.folder, name)) }
  client
end

UNTIL_GO = "sleep 0.02 until File.exist?('go')"
# Without a word to Ruby: its lock stays where it is.
KEEPS_LOCK = "require 'fiddle'; Fiddle::Function.new(Fiddle.dlopen(nil)['sleep'], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true).call(%d)"

# Those that are in @name: their frames.
def frames_in(answer, name)
  answer["threads"].map { |t| t["backtrace"] }.select { |frames| frames.any? { |f| f.include?("`#{name}'") } }
end

test "all threads are busy: each is shown, with its request" do
  server = serve("-w", 1, "-t", 2)
  clients = [begin_handler(server, "first", UNTIL_GO), begin_handler(server, "second", "nil until File.exist?('go')")]
  waiting = server.ask("1")
  answer = eventually("one that waits") { a = server.ctl("backtrace", 0); a if a["queued"] == 1 }
  assert_equal [server.worker, 2], answer.values_at("pid", "threads_busy")
  assert_equal [%w[POST /first], %w[POST /second]], answer["running"].map { |r| r.values_at("method", "path") }
  assert answer["running"].each_cons(2).all? { |a, b| a["age_ms"] >= b["age_ms"] }, "oldest first"
  assert_equal 1, frames_in(answer, "first").size
  assert_equal 1, frames_in(answer, "second").size
  assert_match(/config\.ru:2:in `eval'/, frames_in(answer, "first").first.join("\n"))
  out, err, code = run_ctl("-i", server.instance, "backtrace", 0)
  assert_equal ["", 0], [err, code]
  assert_match(/^worker 0 pid #{server.worker}: 2 threads busy, 1 requests queued$/, out)
  assert_match(%r{^running for \d+ ms: POST /first$}, out)
  assert_match(/^    .*in `second'$/, out)
  refute_match(/secret/, out)
  server.write("go")
  (clients + [waiting]).each { |client| assert_equal "1", client.answer.body }
end

test "a thread keeps Ruby's lock: said so, with what C knows; its end answers the next one", seconds: 20 do
  server = serve("-w", 1)
  client = begin_handler(server, "keeps", format(KEEPS_LOCK, 4))
  sleep 0.3 # behind the file, in the call
  out, err, code = run_ctl("-i", server.instance, "backtrace", 0)
  assert_equal ["", 1], [err, code]
  assert_match(/^no backtraces: a thread did not give Ruby's lock \(the GVL\) away in time/, out)
  assert_match(%r{^running for \d{3,} ms: POST /keeps$}, out)
  answer = answer_to(server.dial, asking("backtrace", worker: 0, timeout_ms: 200))
  assert_equal [true, nil, 1], answer.values_at("ok", "threads", "threads_busy")
  assert_equal "1", client.answer.body
  assert_equal 5, server.ctl("backtrace", 0)["threads"].size
end

test "threads of the app's own are shown" do
  server = serve("-w", 1, "-t", 1)
  server.eval("def mine; sleep; end; Thread.new { Thread.current.name = \"my\\nthread\"; mine }; 1")
  thread = server.ctl("backtrace", 0)["threads"].find { |t| t["name"] == "my?thread" }
  assert_equal "sleep", thread["status"]
  assert_match(/in `mine'/, thread["backtrace"].join("\n"))
end

test "threads 0: between requests as ever; within one the I/O thread is silent, which is said", seconds: 20 do
  server = serve("-w", 1, "-t", 0)
  server.eval("def mine; sleep; end; Thread.new { mine }; 1")
  assert_match(/in `mine'/, server.ctl("backtrace", 0)["threads"].to_s)
  client = begin_handler(server, "long", UNTIL_GO)
  out, err, code = run_ctl("-i", server.instance, "backtrace", 0)
  assert_equal ["", 1], [err, code]
  assert_match(/no backtraces: the worker did not answer in time: with threads 0/, out)
  assert_match(/^as of its last turn, \d+ ms ago$/, out)
  server.write("go")
  assert_equal "1", client.answer.body
  assert_equal true, server.ctl("backtrace", 0)["ok"]
end

test "no Ruby, no such worker, one that is killed meanwhile", seconds: 20 do
  server = serve("-w", 1)
  assert_equal "not_found", error_code(server.ctl("backtrace", 1))
  old = server.worker
  stand_still(old)
  socket = server.dial
  socket.puts(asking("backtrace", worker: 0, timeout_ms: 20_000))
  # Others are served meanwhile.
  assert_equal "serving", server.status["state"]
  Process.kill(:KILL, old)
  answer = next_answer(socket)
  assert_equal ["not_found", "worker 0 (pid #{old}) has ended meanwhile"], answer["error"].values_at("code", "message")
  plain = Server.start("-w", 1, "--constant", "/=x")
  eventually("its worker") { plain.control && plain.status["state"] == "serving" }
  answer = plain.ctl("backtrace", 0)
  assert_equal [[], "there is no Ruby in this server"], answer.values_at("threads", "why")
end

test "four at a time, and who asked may leave" do
  server = serve("-w", 1)
  worker = server.worker
  stand_still(worker)
  slow = asking("backtrace", worker: 0, timeout_ms: 5000)
  sockets = Array.new(4) { server.dial.tap { |s| s.puts(slow) } }
  # Behind them.
  assert_equal "serving", server.status["state"]
  assert_equal "busy", error_code(answer_to(server.dial, slow))
  sockets[0].close_write
  Process.kill(:CONT, worker)
  sockets.each { |s| assert_equal true, next_answer(s)["ok"] }
  stand_still(worker)
  UNIXSocket.open(server.control) { |s| s.puts(asking("backtrace", worker: 0, timeout_ms: 300)) }
  assert_equal "serving", server.status["state"]
  Process.kill(:CONT, worker)
  assert_equal 5, server.ctl("backtrace", 0)["threads"].size
end
