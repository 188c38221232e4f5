#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# hyperion-ctl: what each command does, seen from outside of the server.

require_relative "ctl"

test "status says what is there" do
  server = serve("-w", 2, "-t", 3, "--max-pending", 77)
  5.times { server.eval("1") }
  status = eventually("the requests") { s = server.status; s if s["workers"].sum { |w| w["requests"] } == 5 }
  assert_equal [1, true, server.instance, server.pid, "serving", RUBY_VERSION],
               status.values_at("v", "ok", "instance", "pid", "state", "ruby")
  assert_equal({ "state" => "ready", "pid" => server.mold }, status["mold"])
  assert_equal ["tcp://127.0.0.1:#{server.port}"], status["listeners"]
  assert_equal server.workers_by_index, server.serving
  assert_equal [0, 0], status["workers"].map { |w| w["restarts"] }
  assert_equal [3, 77, 2, "production", "info"],
               status["settings"].values_at("threads", "max_pending", "workers", "environment", "log_level")
  busy = server.ask('File.write("here", ""); sleep 1')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  eventually("one busy thread") { server.status["workers"].sum { |w| w["threads_busy"] } == 1 }
  busy.answer
  old = server.worker(1)
  Process.kill(:KILL, old)
  server.other_worker(old, 1)
  assert_equal [0, 1], server.status["workers"].map { |w| w["restarts"] }
end

test "status is text for people" do
  server = serve("-w", 1)
  out, err, code = run_ctl("--instance", server.instance, "status")
  assert_equal ["", 0], [err, code]
  assert_match(/\A#{server.instance}  hyperion-bpf \S+  serving  pid #{server.pid}  up \d+s$/, out)
  assert_match(/^ +0 +#{server.worker} serving +0m\d\ds +0 +\d+ +0\/5 +0 +\d+ +\d+\.\dMB$/, out)
  # By the environment, and by the socket.
  assert_equal 0, run_ctl("status", env: { "HYPERION_INSTANCE" => server.instance })[2]
  assert_equal 0, run_ctl("--socket", server.control, "status")[2]
end

test "workers: more, fewer, that many" do
  server = serve("-w", 1, "--idle-keepalive", 1)
  assert_equal 3, server.ctl("workers", "+2")["workers"]
  eventually("three workers", seconds: 10) { server.workers_by_index.size == 3 && server.serving.size == 3 }
  assert_equal 2, server.ctl("workers", "-1")["workers"]
  eventually("two workers") { server.workers_by_index.size == 2 }
  assert_equal 4, server.ctl("workers", "4")["workers"]
  eventually("four workers", seconds: 10) { server.workers_by_index.size == 4 }
  assert_equal 1, server.ctl("workers", "1")["workers"]
  eventually("one worker") { server.workers_by_index.keys == [0] }
  assert_equal "refused", error_code(server.ctl("workers", "-1"))
  assert_equal "refused", error_code(server.ctl("workers", "+256"))
  assert_equal 1, server.status["workers_wanted"]
  if server.status["steering"] == "bpf"
    assert_equal "refused", error_code(server.ctl("workers", "+20"))
    assert_equal 9, server.status["workers_wanted"]
    server.ctl("workers", "1")
  end
  assert_equal "4", server.eval("2 + 2")
end

# Clients that ask as fast as they can until the block is over, each request on a connection of its own or
# all on one until the server closes that; [how many answers, what went wrong].
def under_load(server, nr: 4)
  stop = false
  wrong = Queue.new
  clients = Array.new(nr) do |i|
    Thread.new do
      done = 0
      client = nil
      until stop
        client ||= Client.new(server.connect)
        answer = client.ask("Process.pid", *(i.even? ? ["Connection: close"] : [])).answer
        wrong << answer.status unless answer&.status == 200
        done += 1
        next unless answer.nil? || answer.last?

        client.close
        client = nil
      end
      done
    rescue StandardError => e
      wrong << e.inspect
      done
    end
  end
  yield clients
  stop = true
  [clients.sum(&:value), Array.new(wrong.size) { wrong.pop }]
end

test "drain under load: each worker is replaced in turn, and nothing is lost", seconds: 40 do
  server = serve("-w", 3, "--idle-keepalive", 1)
  old = server.serving
  done, wrong = under_load(server) do
    old.each_key do |id|
      out, err, code = run_ctl("-i", server.instance, "--wait", "drain", id)
      assert_equal ["worker #{id} (pid #{old[id]}) finishes what it has, then it is replaced\n", "", 0], [out, err, code]
    end
  end
  assert_equal [], wrong
  assert done > 100, "#{done} answers"
  assert_equal 3, server.serving.size
  assert_equal [], server.serving.values & old.values
  assert_equal [1, 1, 1], server.status["workers"].map { |w| w["restarts"] }
  refute_match(/killed by|exited with|graceful_timeout is over/, server.log)
end

test "workers under load: nothing is lost", seconds: 40 do
  server = serve("-w", 2, "--idle-keepalive", 1)
  done, wrong = under_load(server) do
    2.times do
      server.ctl("workers", "+2")
      eventually("four workers", seconds: 10) { server.serving.size == 4 }
      server.ctl("workers", "2")
      eventually("two workers", seconds: 10) { server.workers_by_index.size == 2 }
    end
  end
  assert_equal [], wrong
  assert done > 100, "#{done} answers"
end

test "drain lets a request end, and the only worker's queue waits for the next one" do
  server = serve("-w", 1)
  old = server.worker
  busy = server.ask('File.write("here", ""); sleep 0.05 until File.exist?("go"); Process.pid')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  assert_equal [old, 0], server.ctl("drain", 0).values_at("pid", "worker")
  eventually("draining") { server.status["workers"][0]["state"] == "draining" }
  assert_equal "refused", error_code(server.ctl("drain", 0))
  waiting = server.ask("Process.pid")
  server.write("go")
  assert_equal old.to_s, busy.answer.body
  assert_equal server.other_worker(old).to_s, waiting.answer.body
  assert_equal "not_found", error_code(server.ctl("drain", 1))
end

test "drain where all workers share one socket" do
  path = File.join(open_folder, "app")
  server = serve("-w", 2, "--idle-keepalive", 1, bind: "unix://#{path}")
  ask = lambda do
    client = Client.new(UNIXSocket.new(path))
    client.ask("Process.pid", "Connection: close").answer.body.to_i.tap { client.close }
  end
  old = server.serving
  old.each_key do |id|
    _, err, code = run_ctl("-i", server.instance, "drain", id)
    assert_equal ["", 0], [err, code]
    eventually("another worker #{id}", seconds: 10) do
      assert server.group.include?(ask.call)
      pid = server.serving[id]
      pid && pid != old[id]
    end
  end
  8.times { assert_include server.serving.values, ask.call }
  assert_equal 0, server.stop.exitstatus
  refute File.exist?(path)
end

test "log-level reaches all processes, and those that come later" do
  server = serve("-w", 2)
  say = ->(word) { server.eval("Hyperion.logger.debug('#{word}'); Hyperion.logger.level") }
  assert_equal "info", say.call("before")
  assert_equal "log-level=debug", server.ctl("log-level", "debug")["message"]
  old = server.serving
  eventually("every worker's level") { Array.new(8) { say.call("meanwhile") }.uniq == ["debug"] }
  assert_match(/debug: app: meanwhile/, server.log)
  refute_match(/app: before/, server.log)
  old.each { |id, pid| Process.kill(:KILL, pid) && server.other_worker(pid, id) }
  assert_equal ["debug"], Array.new(8) { say.call("after") }.uniq
  # A mold reads the settings again.
  mold = server.mold
  Process.kill(:KILL, mold)
  server.other_mold(mold)
  server.ctl("workers", "1")
  worker = server.worker
  Process.kill(:KILL, worker)
  server.other_worker(worker)
  assert_equal "debug", say.call("of a new mold")
  assert_equal "debug", server.status["settings"]["log_level"]
  server.ctl("log-level", "error")
  eventually("the level") { say.call("x") == "error" }
end

test "reopen-logs" do
  server = serve("-w", 1)
  assert_match(/no log goes to a file/, server.ctl("reopen-logs")["message"])
  server.stop
  folder = app_folder
  log = File.join(folder, "access.log")
  server = Server.start("-e", "production", "-w", 1, "--log-file", log, "config.ru", env: gem_env, chdir: folder, wait: false)
  server.folder = folder
  server.wait_until_serving
  server.eval("1")
  eventually("a line") { File.size?(log) }
  File.rename(log, "#{log}.1")
  assert_equal "log files opened anew", server.ctl("reopen-logs")["message"]
  eventually("the new file") { server.eval("1") && File.size?(log) }
end

test "stop answers what is begun; --wait waits for the end" do
  server = serve("-w", 2, "--idle-keepalive", 1)
  busy = server.ask('File.write("here", ""); sleep 0.5; "whole " * 1000')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  out, err, code = run_ctl("-i", server.instance, "--wait", "stop")
  refute Procs.alive?(server.pid), "it lives"
  assert_equal ["stopping, requests are finished first\n", "", 0], [out, err, code]
  assert_equal "whole " * 1000, busy.answer.body
  assert_equal 0, server.wait.exitstatus
  assert_nothing_remains(server)
  assert_equal nil, server.control
end

test "while it stops it answers, but changes nothing" do
  server = serve("-w", 1)
  busy = server.ask('File.write("here", ""); sleep 0.05 until File.exist?("go"); 7')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  server.ctl("stop")
  assert_equal "stopping", server.status["state"]
  assert_equal "refused", error_code(server.ctl("workers", "+1"))
  assert_equal "refused", error_code(server.ctl("drain", 0))
  server.write("go")
  assert_equal "7", busy.answer.body
  assert_equal 0, server.wait.exitstatus
end

test "quit does not wait" do
  server = serve("-w", 2)
  busy = server.ask('File.write("here", ""); sleep 30')
  eventually("the handler") { File.exist?(File.join(server.folder, "here")) }
  assert_equal [0, ""], run_ctl("-i", server.instance, "-w", "quit").values_at(2, 1)
  assert_equal 0, server.wait.exitstatus
  assert_equal nil, busy.answer
  assert_nothing_remains(server)
end

test "wrong use: what is wrong and status 2, and nobody is asked" do
  { [] => /which command/, %w[nonsense] => /nonsense is no command/, %w[status now] => /status takes no argument/,
    %w[workers] => /workers takes \+N, -N or N/, %w[drain x] => /number of a worker/, %w[drain -1] => /number of a worker/,
    %w[log-level loud] => /debug, info, warn or error/, %w[deny example.org] => /address or a prefix/,
    %w[deny ::1 for 10y] => /for 90s/, %w[--timeout 0 status] => /--timeout 0: allowed is/,
    %w[--instance a/b status] => /--instance/, %w[--nonsense status] => /--help/, %w[--wait status] => /--wait goes with/,
  }.each do |words, message|
    out, err, code = run_ctl(*words)
    assert_equal ["", 2], [out, code], words.inspect
    assert_match(message, err)
  end
  assert_equal [0, ""], run_ctl("--help").values_at(2, 1)
  assert_equal run_ctl("--help")[0], run_ctl("help")[0]
end

test "no such server: status 3, and those that there are" do
  server = serve("-w", 1)
  _, err, code = run_ctl("-i", "nobody-has-this-name", "status")
  assert_equal 3, code
  assert_match(/no server of the instance nobody-has-this-name runs here; there is .*\b#{server.instance}\b/, err)
  _, err, code = run_ctl("--socket", "/nowhere/control", "status")
  assert_equal [3, "hyperion-ctl: no server listens at /nowhere/control\n"], [code, err]
end

test "a killed server: status 3; the next one of its name takes its socket" do
  server = serve("-w", 1)
  path = server.control
  Process.kill(:KILL, server.pid)
  eventually("its end") { !Procs.alive?(server.pid) }
  _, err, code = run_ctl("-i", server.instance, "status")
  assert_equal [3, "hyperion-ctl: the server was killed, and left its socket behind: #{path}\n"], [code, err]
  assert_nothing_remains(server)
  again = serve("-w", 1, "--instance", server.instance)
  assert_equal [path, again.pid], [again.control, again.status["pid"]]
  again.stop
  refute File.exist?(path)
end

test "a server that does not answer, goes meanwhile, or is none" do
  server = serve("-w", 1)
  Process.kill(:STOP, server.pid)
  _, err, code = run_ctl("-i", server.instance, "-t", "0.3", "status")
  assert_equal [1, "hyperion-ctl: the server did not answer within 0.3 s\n"], [code, err]
  waiting = Thread.new { run_ctl("-i", server.instance, "status") }
  # Its request is with the socket.
  sleep 0.2
  Process.kill(:KILL, server.pid)
  _, err, code = waiting.value
  assert_equal 3, code
  assert_match(/went away before it answered|was killed/, err)
  Dir.mktmpdir do |dir|
    path = File.join(dir, "s")
    UNIXServer.open(path) do |fake|
      { "" => [3, /went away/], "SSH-2.0-OpenSSH\n" => [1, /no hyperion-bpf/], "[1]\n" => [1, /no hyperion-bpf/],
        "{\"ok\":" => [3, /went away/] }.each do |said, (wanted, message)|
        talk = Thread.new { fake.accept.tap { |s| s.gets && s.write(said) }.close }
        _, err, code = run_ctl("-s", path, "status")
        talk.join
        assert_equal wanted, code, said
        assert_match(message, err)
      end
    end
  end
end

test "without --attach there is no guard, and what would give one" do
  server = serve("-w", 1)
  assert_equal nil, server.status.fetch("guard")
  [%w[deny ::1], %w[allow 192.0.2.0/24 for 10m], %w[forget ::1], %w[lists]].each do |words|
    out, err, code = run_ctl("-i", server.instance, *words)
    assert_equal ["", 1], [out, code]
    assert_match(/this server has no guard; start it with one: hyperion-bpf --attach/, err)
  end
end

AS_NOBODY = ["setpriv", "--reuid", Server::NOBODY.to_s, "--regid", Server::NOBODY.to_s].freeze

# The program where nobody can get at it.
def copied_ctl
  dir = open_folder
  FileUtils.cp(CTL, dir)
  File.join(dir, "hyperion-ctl")
end

def ctl_as(user, *words)
  out, err, status = Open3.capture3({ "HYPERION_INSTANCE" => nil }, *user, copied_ctl, *words)
  [out, err, status.exitstatus]
end

test "another user is not let in; the group reads" do
  needs("root")
  server = serve("-w", 1, nobody: false)
  out, err, code = ctl_as(AS_NOBODY + ["--clear-groups"], "-i", server.instance, "status")
  assert_equal ["", 4], [out, code]
  assert_match(%r{may not use /run/hyperion/#{server.instance}/control: be root, or of the group root}, err)
  server.stop
  daemon = Etc.getgrnam("daemon").gid
  server = serve("-w", 1, "--control-group", "daemon", nobody: false)
  member = AS_NOBODY + ["--groups", daemon.to_s]
  assert_equal [0, ""], ctl_as(member, "-i", server.instance, "status").values_at(2, 1)
  [%w[drain 0], %w[workers +1], %w[log-level debug], %w[backtrace 0], %w[reopen-logs], %w[deny ::1], %w[stop], %w[quit]].each do |words|
    out, err, code = ctl_as(member, "-i", server.instance, *words)
    assert_equal ["", 4], [out, code], words.first
    assert_match(/#{words.first} is for root and the user that runs the server \(uid 0\), not for uid #{Server::NOBODY}$/, err)
  end
  assert_equal [1, "info"], server.status.then { |s| [s["workers_wanted"], s["settings"]["log_level"]] }
  assert server.alive?
end

test "its own user may do all, and root may, wherever it lies" do
  needs("root")
  server = serve("-w", 1, nobody: true)
  path = server.control
  assert_equal [Server::NOBODY, 0o660], [File.stat(path).uid, File.stat(path).mode & 0o777]
  assert_equal 0, ctl_as(AS_NOBODY + ["--clear-groups"], "-i", server.instance, "log-level", "warn")[2]
  assert_equal "warn", server.status["settings"]["log_level"]
end

test "a wrong --control-group, and none" do
  needs("root")
  server = serve("-w", 1, "--control-group", "there-is-none", nobody: false)
  assert_match(/--control-group there-is-none: there is no such group/, server.log)
  assert_equal 0, File.stat(server.control).gid
end

# What bash would offer for the last of @words, "" for a new one.
def completions(*words)
  code = <<~'BASH'
    source tools/completion/hyperion-ctl
    complete -p hyperion-ctl >/dev/null || exit 1
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _hyperion_ctl
    printf '%s\n' "${COMPREPLY[@]}"
  BASH
  out, err, status = Open3.capture3("bash", "-c", code, "bash", CTL, *words, chdir: Server::ROOT)
  assert_equal ["", 0], [err, status.exitstatus], words.inspect
  out.split("\n").reject(&:empty?).sort
end

test "bash completes commands, options, arguments", seconds: 20 do
  listed = run_ctl("--help")[0]
  commands = listed[/^Commands:\n(.*?)\n\n/m, 1].scan(/^  (\S+)/).flatten
  options = listed[/^Options:\n(.*?)\n\n/m, 1].scan(/--[a-z]+(?= )/).uniq - ["--wait"] | ["--wait"]
  assert_equal commands.sort, completions("")
  assert_equal options.sort, completions("-")
  assert_equal %w[deny drain], completions("d")
  assert_equal %w[debug error info warn], completions("--json", "log-level", "")
  assert_equal %w[+1 -1], completions("workers", "")
  assert_equal %w[for], completions("deny", "192.0.2.7", "")
  assert_equal [], completions("status", "")
  assert_equal [], completions("--timeout", "")
  server = serve("-w", 3, nobody: false)
  assert_equal %w[0 1 2], completions("-i", server.instance, "drain", "")
  assert_equal %w[1], completions("--instance", server.instance, "--timeout", "5", "backtrace", "1")
  assert_include completions("-i", server.instance[0..-2]), server.instance
  assert_equal [server.control], completions("-s", server.control[0..-3])
end
