#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Starts that fail say what is wrong in the words of who knows, and leave nothing behind.

require "open3"
require_relative "app"

# Ends with @status and says @pattern; returns the log.
def assert_fails(status, pattern, *args, **how)
  server = serve(*args, wait: false, **how)
  assert_equal status, server.wait.exitstatus, server.log
  assert_match pattern, server.log
  refute_match(/from <internal:hyperion|\[BUG\]|listening on/, server.log)
  assert_nothing_remains(server)
  server.log
end

APPS = {
  "a syntax error" => ["run(\n[}\n", /config\.ru:[23]: syntax error/],
  "a missing library" => ["\nrequire 'nosuch_library'\n", %r{cannot load such file -- nosuch_library \(LoadError\)\n(.*\n)*\tfrom .*/config\.ru:2:}],
  "an unknown constant" => ["\n\nrun NoSuchApp\n", /config\.ru:3:.*uninitialized constant NoSuchApp.*\(NameError\)/m],
  "raise" => ["\nraise ArgumentError, 'not like this'\n", /config\.ru:2:in .*: not like this \(ArgumentError\)/],
  "raise in another file" => ["require_relative 'lib/part'\n", %r{lib/part\.rb:2:in .*: in the part \(RuntimeError\)\n(.*\n)*\tfrom .*/config\.ru:1:}],
  "exit" => ["\nexit\n", /exit\(0\) was called at .*config\.ru:2/],
  "exit 5" => ["exit 5\n", /exit\(5\) was called at .*config\.ru:1/],
  "abort" => ["\n\nabort 'sorry'\n", /^sorry$(.*\n)*.*exit\(1\) was called at .*config\.ru:3/],
  "no app" => ["use Rack::Runtime\n", /missing run or map statement/],
  "an app that is none" => ["run 5\n", /the app has no method call: 5/],
}.freeze

[[], ["--no-preload"], ["-t", 0]].each do |more|
  APPS.each do |name, (text, pattern)|
    test "#{name} in config.ru #{more.join(" ")}".strip do
      files = { "config.ru" => text, "lib/part.rb" => "\nraise 'in the part'\n" }
      log = assert_fails(1, pattern, "-w", 1, *more, files: files)
      # Said once, and nothing about it by others but that the worker is gone.
      assert_equal 1, log.scan(/\(\w*Error\)|was called at/).size, log
    end
  end
end

test "exit! in config.ru" do
  assert_fails(1, /the mold died \(status 0\) before anything was served/, files: { "config.ru" => "exit!(0)" })
  assert_fails(3, /the mold died \(status 3\) before anything was served/, files: { "config.ru" => "exit!(3)" })
  assert_fails(1, /worker exited with status 3 worker=0/, "-w", 1, "--no-preload", files: { "config.ru" => "exit!(3)" })
end

test "at_exit handlers of an app that fails to load run" do
  text = "at_exit { sleep 0.2; File.write('left', 'at_exit ran') }\nraise 'no'"
  folder = app_folder("config.ru" => text)
  [[], ["--no-preload"]].each do |more|
    assert_fails(1, /: no \(RuntimeError\)/, "-w", 1, *more, folder: folder)
    assert_equal "at_exit ran", File.read(File.join(folder, "left"))
    File.delete(File.join(folder, "left"))
  end
end

test "no config.ru" do
  server = Server.start("-e", "production", "none.ru", wait: false, chdir: app_folder)
  assert_equal 1, server.wait.exitstatus
  assert_match(/none\.ru: No such file or directory; name the rackup file, or use --no-app/, server.log)
  assert_equal 1, server.log.lines.size

  # The default, too: without an argument.
  folder = app_folder
  File.delete(File.join(folder, "config.ru"))
  out, status = Open3.capture2e(File.join(Server::BUILD, "hyperion-bpf"), "-b", "tcp://127.0.0.1:#{Server.free_port}", chdir: folder)
  assert_equal 1, status.exitstatus
  assert_match(/config\.ru: No such file or directory/, out)
end


CONFIGS = {
  "an unknown setting" => ["\nwrokers 2\n", /c\.rb:2:.*unknown setting wrokers: the nearest is workers/],
  "a bad value" => ["workers 2\nthreads -1\n", /c\.rb:2:.*threads -1: a number from 0/],
  "a syntax error" => ["workers 2\n)\n", /c\.rb:2: syntax error/],
  "raise" => ["\n\nraise 'no'", /c\.rb:3:in .*: no \(RuntimeError\)/],
  "a setting of the command line" => ["user 'root'\n", /c\.rb:1:.*user belongs on the command line/],
  "exit" => ["exit 0", /exit\(0\) was called at .*c\.rb:1/],
}.freeze

CONFIGS.each do |name, (text, pattern)|
  test "#{name} in the config file" do
    assert_fails(2, pattern, "-C", "c.rb", files: { "c.rb" => text })
  end
end

test "a config file that is not there" do
  assert_fails(2, /--config nosuch\.rb: No such file or directory/, "-C", "nosuch.rb")
end

test "config/hyperion.rb is read where it is; the command line goes before it" do
  server = serve("-t", 3, files: { "config/hyperion.rb" => "workers 2\nthreads 1\n" })
  assert_equal 2, server.workers_by_index.size
  assert_match(/workers=2 threads=3 /, server.log)
end

test "bad options" do
  { ["--nosuch"] => /nosuch/, ["-w", "0"] => /--workers 0: allowed is a number from 1 to 256/, ["-w"] => /requires an argument/ }.each do |args, pattern|
    out, status = Open3.capture2e(File.join(Server::BUILD, "hyperion-bpf"), *args)
    assert_equal 2, status.exitstatus
    assert_match pattern, out
  end
end

test "a port that somebody else has: nothing is loaded" do
  port = Server.free_port
  other = TCPServer.new("127.0.0.1", port)
  server = serve(wait: false, port: port, files: { "config.ru" => "File.write('loaded', '')\n#{EVAL}" })
  assert_equal 1, server.wait.exitstatus
  assert_match(%r{--bind tcp://127\.0\.0\.1:#{port}: Address already in use; another process listens there}, server.log)
  refute File.exist?(File.join(server.folder, "loaded"))
  other.close
  assert_nothing_remains(server)
end

test "a second server on the same port or path is refused, and does the first no harm" do
  path = File.join(open_folder, "app.sock")
  first = serve("-w", 1, "-b", "unix://#{path}")
  second = serve("-w", 1, port: first.port, wait: false)
  assert_equal 1, second.wait.exitstatus
  third = serve("-w", 1, bind: "unix://#{path}", wait: false)
  assert_equal 1, third.wait.exitstatus
  assert_match(/unix:.*: Address already in use/, third.log)
  assert_equal "2", first.eval("1 + 1")
  socket = UNIXSocket.new(path)
  socket.write("GET /-/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
  assert_match(/200 OK/, socket.read)
  assert_equal 0, first.stop.exitstatus
  refute File.exist?(path)
end

test "--check: the settings, the app, and nothing is served" do
  folder = app_folder("config.ru" => "at_exit { File.write('left', 'at_exit') }\n#{EVAL}", "c.rb" => "workers 3\nthreads 2")
  server = serve("--check", "-C", "c.rb", wait: false, folder: folder)
  assert_equal 0, server.wait.exitstatus, server.log
  assert_match(%r{^bind tcp://127\.0\.0\.1:#{server.port}\nworkers 3\nthreads 2\nloop \w+\nenvironment production\nthe settings are right, the app loads$}, server.log)
  assert_equal "at_exit", server.read("left")
  refute_match(/listening on|warn|error/, server.log)
  assert_nothing_remains(server)
  assert_fails(1, /: no \(RuntimeError\)/, "--check", files: { "config.ru" => "raise 'no'" })
  assert_fails(2, /unknown setting/, "--check", "-C", "c.rb", files: { "c.rb" => "x 1" })
  server = serve("--check", "--no-app", wait: false)
  assert_equal 0, server.wait.exitstatus
end

test "--check with --no-preload loads the app, too" do
  assert_fails(1, /: no \(RuntimeError\)/, "--check", "--no-preload", files: { "config.ru" => "raise 'no'" })
  server = serve("--check", "--no-preload", wait: false)
  assert_equal 0, server.wait.exitstatus
  assert_match(/the app loads$/, server.log)
end

[true, false].each do |preload|
  test "the app is loaded #{preload ? "once, in the mold" : "in each worker"} (--#{preload ? "" : "no-"}preload)" do
    text = "File.open('loads', 'a') { |f| f.puts(Process.pid) }\n#{EVAL}"
    server = serve("-w", 2, preload ? "--preload" : "--no-preload", files: { "config.ru" => text })
    expected = preload ? [server.mold] : server.workers_by_index.values
    assert_equal expected.sort, server.read("loads").split.map(&:to_i).sort
    assert_equal "2", server.eval("1 + 1")
    old = server.worker
    Process.kill(:KILL, old)
    server.other_worker(old)
    assert_equal preload ? 1 : 3, server.read("loads").lines.size
  end
end

test "development: Rack::Lint; production: none" do
  bad = "run ->(env) { [200, { 'Content-Type' => 'x' }, ['hello']] }"
  server = serve("-w", 1, files: { "config.ru" => bad })
  assert_equal 200, server.client.get.status
  server = serve("-w", 1, "-e", "development", files: { "config.ru" => bad })
  assert_equal 500, server.client.get.status
  assert_match(/Lint/, server.log)
end
