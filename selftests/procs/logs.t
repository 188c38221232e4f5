#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Logs and request ids with an app: what the app, the client and the log see is one id, and no log that
# nobody reads holds up a thread of Ruby's.

require_relative "app"
require "json"

ID = /\A[A-P][\w-]{21}\z/

def logged(server, name = "access.log")
  server.read(name).lines.map { |line| JSON.parse(line) }
end

def serve_logged(*args, **how)
  serve("-w", 1, "--log-requests", "--log-format", "json", "--log-file", "access.log", *args, **how)
end

on_threads "one id for the app, the client and the log" do |threads|
  server = serve_logged("-t", threads)
  client = server.client
  code = 'env["HTTP_X_REQUEST_ID"]'
  # The third on a connection comes out of the cached env.
  answers = [[], ["X-Request-Id: abc-1"], [], [], ["X-Request-Id: a b"], ["X-Request-Id: \"'"], ["X-Request-Id: x", "X-Request-Id: y"],
             ["X-Request-Id:"]].map { |headers| client.ask(code, *headers).answer }
  ids = answers.map(&:body)
  assert_equal ids, answers.map { |a| a.headers["x-request-id"] }
  assert_equal "abc-1", ids.delete_at(1)
  ids.each { |id| assert_match(ID, id) }
  assert_equal ids, ids.uniq
  lines = eventually("all lines") { logged(server).then { |l| l if l.size == 8 } }
  assert_equal answers.map(&:body), lines.map { |l| l["request_id"] }
end

on_threads "the app's own X-Request-Id is left alone, and logged" do |threads|
  server = serve_logged("-t", threads, files: { "config.ru" => <<~'RUBY' })
    run ->(env) { [200, { "X-Request-Id" => env["PATH_INFO"][1..], "content-type" => "text/plain" }, []] }
  RUBY
  client = server.client
  ["/mine", "/other", "/", "/#{"x" * 200}"].each do |path|
    answer = client.get(path)
    assert_equal path[1..], answer.headers["x-request-id"].to_s
  end
  lines = eventually("all lines") { logged(server).then { |l| l if l.size == 4 } }
  assert_equal ["mine", "other", "", "x" * 128], lines.map { |l| l["request_id"] }
end

on_threads "an answer in place of the app's has the id, too" do |threads|
  server = serve_logged("-t", threads)
  answer = server.ask('raise "broken"').answer
  assert_equal 500, answer.status
  assert_match ID, answer.headers["x-request-id"]
  line = eventually("the line") { logged(server).first }
  assert_equal [500, answer.headers["x-request-id"]], line.values_at("status", "request_id")
end

on_threads "--no-request-id" do |threads|
  server = serve_logged("-t", threads, "--no-request-id")
  client = server.client
  2.times do
    answer = client.ask('env.key?("HTTP_X_REQUEST_ID")').answer
    assert_equal "false", answer.body
    refute answer.headers.key?("x-request-id")
  end
  # What a client sends is a header like any other.
  assert_equal "abc", client.ask('env["HTTP_X_REQUEST_ID"]', "X-Request-Id: abc").answer.body
  lines = eventually("all lines") { logged(server).then { |l| l if l.size == 3 } }
  assert_equal ["", "", ""], lines.map { |l| l["request_id"] }
end

test "ids of several workers, and of those that replace them, differ" do
  server = serve("-w", 2)
  ids = []
  2.times do
    old = server.workers_by_index
    40.times { ids << server.ask('env["HTTP_X_REQUEST_ID"]').answer.body }
    Process.kill(:KILL, *old.values)
    old.each { |index, pid| server.other_worker(pid, index) }
  end
  assert_equal 80, ids.uniq.size
end

test "request_id, file and error_file in the config file", seconds: 30 do
  server = serve("-w", 1, "-C", "c.rb", "--log-requests", wait: false, files: { "c.rb" => <<~RUBY })
    logging do
      file "a.log"
      error_file "e.log"
      format "{path} {request_id}"
      request_id false
    end
  RUBY
  # It says that it serves where the config file wants it.
  eventually("the server", seconds: 20) { server.read("e.log").match?(/hyperion-bpf \S+ workers=1/) }
  assert_equal "", server.eval('env["HTTP_X_REQUEST_ID"]')
  eventually("the line") { server.read("a.log") == "/ -\n" }
end

on_threads "the time in the queue, and that of the app" do |threads|
  server = serve_logged("-t", threads, "--max-pending", 100)
  first, second = server.client, server.client
  first.ask("sleep 0.3")
  eventually("the first to run") { server.log }
  sleep 0.05
  second.ask("1")
  [first, second].each(&:answer)
  slow, fast = eventually("two lines") { logged(server).then { |l| l if l.size == 2 } }.sort_by { |l| -l["app_ms"] }
  assert slow["app_ms"] >= 300, slow.to_s
  assert slow["total_ms"] >= slow["app_ms"], slow.to_s
  assert fast["app_ms"] < 200, fast.to_s
  [slow, fast].each { |l| assert l["queue_ms"] >= 0 && l["total_ms"] >= l["app_ms"], l.to_s }
  # With one thread, the second has to wait for the first.
  one = serve_logged("-t", 1)
  first, second = one.client, one.client
  first.ask("File.write('here', ''); sleep 0.3")
  eventually("the first to run") { File.exist?(File.join(one.folder, "here")) }
  second.ask("1")
  [first, second].each(&:answer)
  waited = eventually("two lines") { logged(one).then { |l| l if l.size == 2 } }.max_by { |l| l["queue_ms"] }
  assert waited["queue_ms"] > waited["app_ms"], waited.to_s
  assert waited["total_ms"] >= waited["queue_ms"] + waited["app_ms"] - 0.01, waited.to_s
end

# The GVL is held while a backtrace is written: who waits then stops all handlers.
on_threads "errors of the app on a stderr that nobody reads", seconds: 60 do |threads|
  reader, writer = IO.pipe
  folder = app_folder
  server = Server.start("-w", 1, "-t", threads, "-e", "production", "--no-log-requests", "config.ru",
                        env: gem_env, chdir: folder, err: writer, wait: false)
  server.wait_until_listening
  client = eventually("an answer", seconds: 20) { Client.new(server.connect).tap { |c| c.ask("1").answer } }
  200.times { assert_equal 500, client.ask('raise "broken " * 100').answer.status }
  refute writer.wait_writable(0), "the pipe is not full"
  assert_equal "2", client.ask("1 + 1").answer.body
  # The description is the app's as well: it waits if it wants to.
  refute client.ask('require "fcntl"; $stderr.fcntl(Fcntl::F_GETFL) & Fcntl::O_NONBLOCK != 0').answer.body == "true"
  text = Thread.new { reader.read }
  eventually("room") { writer.wait_writable(0) }
  assert_equal 500, client.ask('raise "the last"').answer.status
  client.close
  writer.close
  assert server.stop.success?
  told = text.value.scan(/warn: log: (\d+) entries of the error log dropped/).sum { |n,| n.to_i }
  whole = text.value.scan(/RuntimeError: broken/).size
  assert told.positive?
  # The one that met the end of the room has its beginning there.
  assert [200, 201].include?(told + whole), "#{told} told, #{whole} there"
  assert_include text.value, "RuntimeError: the last"
end

on_threads "HUP: all processes move, workers of another user, too; the app's stdout and stderr stay" do |threads|
  needs("root")
  folder = app_folder
  File.chmod(0o755, folder)
  logs = Dir.mktmpdir("hyperion-root-only")
  Tap.after { FileUtils.remove_entry(logs, true) }
  server = serve("-w", 2, "-t", threads, "--user", "nobody", "--log-requests", "--log-format", "{path}", "--log-file", "#{logs}/a",
                 "--error-log", "#{logs}/e", folder: folder, wait: false)
  error_log = -> { File.exist?("#{logs}/e") ? File.read("#{logs}/e") : "" }
  eventually("the server", seconds: 20) { error_log.call.include?("workers=2") }
  stderr_of = ->(pid) { (1..2).map { |fd| File.readlink("/proc/#{pid}/fd/#{fd}") } }
  before = server.workers_by_index.values.to_h { |pid| [pid, stderr_of.call(pid)] }
  server.eval("1")
  %w[a e].each { |name| File.rename("#{logs}/#{name}", "#{logs}/#{name}.1") }
  server.signal(:HUP)
  processes = [server.pid, server.mold, *server.workers_by_index.values]
  eventually("nobody to have the old files open") do
    processes.none? { |pid| Procs.fds(pid).values.any? { |name| name.start_with?("#{logs}/") && name.end_with?(".1") } }
  end
  before.each { |pid, names| assert_equal names, stderr_of.call(pid) }
  server.eval('$stdout.puts "from the app"; $stdout.flush; 1') rescue nil
  assert_raise(Tap::Failed) { server.eval('raise "seen in the new file"') }
  eventually("its backtrace") { error_log.call.include?("seen in the new file") }
  # One that comes later has the new files, and no child of the app any of them.
  old = server.worker
  Process.kill(:KILL, old)
  young = server.other_worker(old)
  assert_include Procs.fds(young).values, "#{logs}/a"
  names = server.eval('IO.popen(["ls", "-l", "/proc/self/fd"], &:read) + (r, w = IO.pipe; pid = fork { w.puts; sleep 1 }; r.gets; `ls -l /proc/#{pid}/fd`)')
  assert_equal [], names.lines.grep(/#{logs}/)
  assert_include server.log, "from the app"
  assert server.stop.success?
end
