#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What an operator reads at the start: what runs, what is most likely a mistake.

require "etc"
require_relative "app"

def info(server)
  eventually("the banner") { server.log.lines(chomp: true).grep(/info: /).map { |l| l.sub(/\A\[\d+\] info: /, "") }.then { |l| l if l.grep(/serves/).any? } }
end

def warnings(server)
  server.log.lines(chomp: true).grep(/warn: /).map { |line| line.sub(/\A\[\d+\] warn: /, "") }
end

test "the banner: address, version, workers, threads, loop, environment, Ruby, app, user" do
  server = serve("-w", 2, "-t", 3, "--io-uring", "off", "-b", "unix://#{open_folder}/s")
  lines = info(server)
  assert_equal "listening on tcp://127.0.0.1:#{server.port}", lines[0]
  assert_match(/\Alistening on unix:.*\/s\z/, lines[1])
  assert_match(/\Ahyperion-bpf \d+\.\d+\.\d+ workers=2 threads=3 loop=epoll \(as set\) environment=production pid=#{server.pid}\z/, lines[2])
  version = server.eval("RUBY_VERSION")
  user = Etc.getpwuid(Server::MODE == "nobody" ? Server::NOBODY : File.stat("#{server.folder}/config.ru").uid).name
  assert_match(/\ARuby #{version} serves config\.ru as user=#{user}( \(its owner; without root's capabilities: --user root keeps them, --user names another\))?\z/, lines[3])
  assert_equal [4, []], [lines.size, warnings(server)]
end

test "who runs Ruby as root is told, who has said so is not" do
  needs("root")
  assert_match(/as user=root \(its owner; without root's capabilities: --user root keeps them, --user names another\)$/, info(serve("-w", 1)).last)
  assert_match(/as user=root$/, info(serve("-w", 1, "--user", "root")).last)
end

test "without an app there is no word of Ruby" do
  server = Server.start("-w", 1)
  eventually("the banner") { server.log.include?("workers=1") }
  refute_match(/Ruby|user=/, server.log)
end

test "--log-level warn: silence" do
  assert_equal "", serve("-w", 1, "--log-level", "warn", wait: false).tap(&:wait_until_listening).tap { |s| eventually("a worker") { s.worker } }.log
end

# Options, environment, a pattern for the warning; nil: none.
[
  [%w[--threads 0 --max-request-seconds 5], {}, /\Aconf: --max-request-seconds has no effect with --threads 0/],
  [%w[--threads 1 --max-request-seconds 5], {}, nil],
  [%w[--max-in-flight-per-conn 33], {}, /\Aconf: --max-in-flight-per-conn 33 is never reached: .* 32 requests/],
  [%w[--max-in-flight-per-conn 32], {}, nil],
  [%w[-t 256 --max-in-flight-per-conn auto], {}, /per-conn 64 is never reached/],
  [%w[-e development], { "NOTIFY_SOCKET" => "/nonexistent" }, /\Aconf: --environment development: .*source code.*-e production/],
  [%w[-e development], {}, nil],
  [%w[-e development -b tcp://127.0.0.1:80], {}, /\Aconf: --environment development: /],
  [%w[-e production -b tcp://127.0.0.1:80], { "NOTIFY_SOCKET" => "/nonexistent" }, nil],
  [["-w", Etc.nprocessors * 4 + 1], {}, /\Aconf: --workers #{Etc.nprocessors * 4 + 1} on \d+ CPUs?/],
].each do |args, env, pattern|
  test "#{args.join(" ")} #{env.keys.join} #{pattern ? "warns" : "is fine"}" do
      needs("root") if args.join.include?(":80") # a port below 1024
    server = serve("-w", 1, "--check", *args, env: env, wait: false)
    assert_equal 0, server.wait.exitstatus
    assert_equal pattern ? 1 : 0, warnings(server).size, server.log
    assert_match pattern, warnings(server).first if pattern
  end
end

test "several workers in development: said once, as a hint" do
  log = serve("-w", 2, "-e", "development").log
  assert_equal 1, log.scan(/info: conf: what the app keeps in memory differs between 2 workers/).size
  refute_match(/differs/, serve("-w", 1, "-e", "development").log)
end
