#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# How the program takes up an app: config file, Gemfile, hooks, what it says when that fails.

require "fileutils"
require "json"
require "open3"
require_relative "../harness/tap"
require_relative "gems"
require_relative "http"

HELLO = "run ->(env) { [200, {}, ['hello']] }\n"
# Tells of itself what a case wants to know.
TELL = <<~RUBY
  require "json"
  run(lambda do |env|
    facts = { pid: Process.pid, ppid: Process.ppid, rack: Rack.release, env: ENV["RACK_ENV"], early: defined?(EARLY).inspect,
              multithread: env["rack.multithread"], multiprocess: env["rack.multiprocess"] }
    [200, { "content-type" => "text/plain" }, [JSON.generate(facts)]]
  end)
RUBY

# A folder with an app.
def site(files = {})
  folder = File.realpath(Dir.mktmpdir("site"))
  Tap.after { FileUtils.remove_entry(folder, true) }
  { "config.ru" => TELL }.merge(files).each do |name, text|
    FileUtils.mkdir_p(File.dirname(File.join(folder, name)))
    File.write(File.join(folder, name), text)
  end
  folder
end

def serve(folder, *args, env: Gems.path, **how)
  Server.start("--no-log-requests", *args, File.join(folder, "config.ru"), env: env, chdir: folder, **how)
end

def ask(server, target = "/")
  Http.request(server.port, "GET", target)
end

def facts(server)
  JSON.parse(ask(server).body)
end

# The program without an address of the harness and without a file named; the port it was given.
def spawn_plain(folder, *args, env: Gems.path, before: [])
  port = Server.free_port
  pid = Process.spawn(env, *before, File.join(Server::BUILD, "hyperion-bpf"), "-b", "tcp://127.0.0.1:#{port}", "-w", "1", *args,
                      chdir: folder, out: File::NULL, err: File::NULL, pgroup: true)
  Tap.after { Process.kill(:KILL, -pid) && Process.wait(pid) }
  port
end

def answer_of(port)
  Http.request(port, "GET", "/").body
rescue Errno::ECONNREFUSED
  nil
end

# A start that is to fail: what it said and its status.
def refuse(folder, *args, env: Gems.path)
  server = serve(folder, "-w", 1, *args, env: env, wait: false)
  status = server.wait
  [server.log, status.exitstatus]
end

def assert_refused(pattern, status, folder, *args, **how)
  log, ended = refuse(folder, *args, **how)
  assert_match pattern, log
  assert_equal status, ended, log
  refute_match(/internal:hyperion|\[BUG\]/, log)
end

test "an app that does not load: Ruby's own error, exit 1", seconds: 30 do
  [[], ["--no-preload"], ["-t", "0"]].each do |args|
    assert_refused(%r{/config\.ru:2:.*: not today \(RuntimeError\)}, 1, site("config.ru" => "\nraise 'not today'\n"), *args)
    assert_refused(/config\.ru:[12]: syntax error/, 1, site("config.ru" => "run(\n"), *args)
  end
  assert_refused(/cannot load such file -- nosuch_thing \(LoadError\)/, 1, site("config.ru" => "require 'nosuch_thing'"))
  assert_refused(/missing run or map statement/, 1, site("config.ru" => ""))
  assert_refused(/exit\(0\) was called at .*config\.ru:1/, 1, site("config.ru" => "exit"))
end

test "a config file that is refused: where and why, exit 2", seconds: 30 do
  folder = site("config/hyperion.rb" => "threads 2\nwrokers 4\n", "other.rb" => "workers 'many'\n")
  assert_refused(%r{config/hyperion\.rb:2:.*unknown setting wrokers: the nearest is workers}, 2, folder)
  assert_refused(%r{other\.rb:1:.*workers "many": a number from 1 to 256}, 2, folder, "-C", "other.rb")
  assert_refused(/nosuch\.rb: No such file or directory/, 2, folder, "-C", "nosuch.rb")
end

test "a Gemfile that cannot be had: Bundler's words, exit 1", seconds: 30 do
  assert_refused(/nosuch_thing/, 1, site("Gemfile" => "gem 'nosuch_thing'"))
end

test "--check opens the app, says what would run", seconds: 30 do
  server = serve(site, "-w", 3, "--check", wait: false)
  assert_equal 0, server.wait.exitstatus, server.log
  assert_match(/^workers 3$/, server.log)
  assert_refused(/not today \(RuntimeError\)/, 1, site("config.ru" => "raise 'not today'"), "--check")
  assert_refused(/unknown setting wrokers/, 2, site("config/hyperion.rb" => "wrokers 4"), "--check")
end

test "config.ru of the working folder is the default", seconds: 30 do
  folder = site
  port = spawn_plain(folder)
  body = eventually("an answer") { answer_of(port) }
  assert_equal "development", JSON.parse(body)["env"]
end

test "rackup in the config file names the app", seconds: 30 do
  folder = site("config/hyperion.rb" => "rackup 'app/other.ru'", "app/other.ru" => HELLO)
  port = spawn_plain(folder)
  assert_equal("hello", eventually("an answer") { answer_of(port) })
end

test "no config.ru says so", seconds: 30 do
  folder = site
  File.delete(File.join(folder, "config.ru"))
  log, status = refuse(folder)
  assert_match(/config\.ru/, log)
  assert_include [1, 2], status
end

test "the command line goes before the config file", seconds: 30 do
  folder = site("config/hyperion.rb" => "workers 2\nenvironment 'staging'\nthreads 1")
  server = serve(folder)
  eventually("the first line") { server.log.match?(/workers=2 threads=1 .*environment=staging/) }
  assert_equal ["staging", true, false], facts(server).values_at("env", "multiprocess", "multithread")
  server.stop
  server = serve(folder, "-w", 1, "-e", "production", "-t", 3)
  eventually("the first line") { server.log.match?(/workers=1 threads=3 .*environment=production/) }
  assert_equal ["production", false, true], facts(server).values_at("env", "multiprocess", "multithread")
end

test "bind of the config file is used unless the command line has one", seconds: 30 do
  one = Server.free_port
  two = Server.free_port
  folder = site("config/hyperion.rb" => "bind 'tcp://127.0.0.1:#{one}'\nbind 'tcp://127.0.0.1:#{two}'")
  server = serve(folder, "-w", 1, bind: false)
  eventually("both addresses") { [one, two].all? { |port| answer_of(port) } }
  server.stop
  server = serve(folder, "-w", 1)
  assert_equal 200, ask(server).status
  assert_raise(Errno::ECONNREFUSED) { Http.new(one) }
end

test "hooks: before_fork once, boot and shutdown in each worker with its index", seconds: 30 do
  folder = site("config/hyperion.rb" => <<~RUBY)
    def note(text) = File.write("notes", "\#{text} \#{Process.pid}\\n", mode: "a")
    before_fork { note "before" }
    on_worker_boot { |index| note "boot \#{index}" }
    on_worker_shutdown { |index| note "shutdown \#{index}" }
  RUBY
  notes = File.join(folder, "notes")
  server = serve(folder, "-w", 3)
  eventually("three boots") { File.exist?(notes) && File.read(notes).scan("boot").size == 3 }
  server.stop
  lines = File.readlines(notes, chomp: true).map { |line| line.match(/(.*) (\d+)/).captures }
  assert_equal "before", lines.first.first
  assert_equal ["before", "boot 0", "boot 1", "boot 2", "shutdown 0", "shutdown 1", "shutdown 2"], lines.map(&:first).sort
  pids = ->(what) { lines.select { |text, _| text.start_with?(what) }.sort.map(&:last) }
  assert_equal pids["boot"], pids["shutdown"]
  assert_equal 3, pids["boot"].uniq.size
  refute pids["boot"].include?(pids["before"].first)
end

test "at_exit handlers of the app run in each worker and in the mold when it stops", seconds: 30 do
  folder = site("config.ru" => "at_exit { File.write('bye', %(bye \#{Process.pid}\\n), mode: 'a') }\n#{HELLO}")
  server = serve(folder, "-w", 2)
  assert_equal "hello", ask(server).body
  server.stop
  lines = eventually("the last words") { File.readlines(File.join(folder, "bye")).then { |l| l if l.size >= 3 } }
  assert_equal 3, lines.uniq.size
  assert_equal 3, lines.size
end

test "a Gemfile beside the app: Rack 2 here, Rack 3 there", seconds: 30 do
  # A lock file of another folder would be written anew.
  %w[rack2 rack3].each do |name|
    folder = site("Gemfile" => File.read(File.join(__dir__, name, "Gemfile")))
    server = serve(folder, "-w", 1, env: Gems.outside.merge("BUNDLE_PATH" => Gems::PATH))
    assert_equal name[-1], facts(server)["rack"][0]
    server.stop
  end
end

test "bundle exec, RUBYOPT and RUBYLIB", seconds: 30 do
  needs("tool", "bundle")
  folder = site("lib/early.rb" => "EARLY = 1")
  port = spawn_plain(folder, File.join(folder, "config.ru"), before: %w[bundle exec],
                     env: Gems.bundle("rack2").merge("RUBYOPT" => "-rearly", "RUBYLIB" => File.join(folder, "lib")))
  body = eventually("an answer") { answer_of(port) }
  assert_equal ["2", '"constant"'], JSON.parse(body).then { |f| [f["rack"][0], f["early"]] }
end

test "--no-preload loads the app in each worker, preload once in the mold", seconds: 30 do
  app = "File.write('loads', %(\#{Process.pid}\\n), mode: 'a')\n#{HELLO}"
  { [] => 1, ["--no-preload"] => 2 }.each do |args, loads|
    folder = site("config.ru" => app)
    server = serve(folder, "-w", 2, *args)
    eventually("#{loads} loads") { File.exist?(File.join(folder, "loads")) && File.readlines(File.join(folder, "loads")).size >= loads }
    assert_equal "hello", ask(server).body
    server.stop
    assert_equal loads, File.readlines(File.join(folder, "loads")).uniq.size
  end
end

test "what the app prints appears at once, and once", seconds: 30 do
  server = serve(site("config.ru" => "print 'loading.'\nrun ->(_) { print 'running.'; [200, {}, []] }"), "-w", 2, "-e", "production")
  eventually("both") { ask(server) && server.log.include?("running.") }
  server.stop
  assert_equal 1, server.log.scan("loading.").size
end

test "the example that make run serves, under Rack::Lint", seconds: 30 do
  app = File.expand_path("../../examples/hello/config.ru", __dir__)
  server = Server.start("-w", 2, "--no-log-requests", app, env: Gems.path)
  page = ask(server)
  assert_equal [200, "text/html; charset=utf-8"], [page.status, page["content-type"]]
  assert_match(/<h1>Hello\.<\/h1>.*worker \d+, its request number 1/m, page.body)
  assert_match(/worker \d+/, JSON.parse(ask(server, "/json").body)["answered by"])
  assert_equal ["5...\n4...\n3...\n2...\n1...\nhello!\n", :chunked, true], ask(server, "/stream").then { |a| [a.body, a.framing, a.whole] }
  assert_equal 404, ask(server, "/nothing").status
end
