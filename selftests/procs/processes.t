#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Who is who: the tree of processes, what each is made of, and as whom it runs.

require_relative "app"

NOBODY = Etc.getpwuid(Server::NOBODY)

# A copy of rack that every user may read, wherever the gems lie.
def rack_for_all
  @rack_for_all ||= begin
    script = 'puts Gem::Specification.find_by_name("rack", ">= 3").full_require_paths'
    source = IO.popen([gem_env, RbConfig.ruby, "-e", script], &:read).strip
    dir = Dir.mktmpdir("hyperion-rack")
    at_exit { FileUtils.remove_entry(dir, true) }
    File.chmod(0o755, dir)
    FileUtils.cp_r(File.join(source, "."), dir)
    FileUtils.chmod_R("a+rX", dir)
    dir
  end
end

# Real, effective and saved.
def ids(pid)
  %w[Uid Gid].map { |key| Procs.status(pid, key).split.first(3).map(&:to_i).uniq }
end

def serve_as(uid, *args, **how)
  folder = app_folder
  File.chown(uid, uid, folder, File.join(folder, "config.ru"))
  serve(*args, folder: folder, env: { "RUBYLIB" => rack_for_all, "HOME" => "/root" }, **how)
end

on_threads "the supervisor is the parent of the mold and of every worker" do |threads|
  server = serve("-w", 3, "-t", threads)
  assert_equal 4, server.children.size
  assert_equal [server.mold, *server.workers_by_index.values].sort, server.children.sort
  assert_equal [0, 1, 2], server.workers_by_index.keys.sort
  assert_equal server.pid.to_s, server.eval("Process.ppid")
  assert_include server.workers_by_index.values.map(&:to_s), server.eval("Process.pid")
  # Those between the mold and the workers are waited for.
  eventually("no grandchild") { server.children.all? { |pid| Procs.children(pid).empty? } }
end

test "the supervisor has no Ruby in it" do
  server = serve("-w", 1)
  # What a Ruby that has started maps, whichever it is: encodings and extensions.
  extensions = ->(pid) { File.read("/proc/#{pid}/maps").scan(%r{\S+/ruby/\S+\.so$}).uniq }
  refute extensions.call(server.mold).empty?, "the mold maps no extension of Ruby's: nothing to compare with"
  assert_equal [], extensions.call(server.pid)
  assert_equal "1", Procs.status(server.pid, "Threads")
  assert_equal [], Procs.fds(server.pid).values.grep(/\.rb\z|\.so\z/)
  # A heap of Ruby's is megabytes of pages of its own.
  own = ->(pid) { Procs.status(pid, "RssAnon").to_i }
  assert own.call(server.pid) * 4 < own.call(server.mold), "#{own.call(server.pid)} and #{own.call(server.mold)} kB"
end

test "no signal reaches the I/O thread, Ruby's own threads have none blocked" do
  server = serve("-w", 1, "-t", 2)
  masks = -> { Dir["/proc/#{server.worker}/task/*/status"].to_h { |f| [f[%r{task/(\d+)}, 1].to_i, File.read(f)[/^SigBlk:\s*(\w+)/, 1].hex] } }
  stops = %w[INT TERM HUP QUIT USR1 USR2].sum { |name| 1 << (Signal.list[name] - 1) }
  # Blocked there, too, for as long as it takes to start the other.
  eventually("the main thread") { (masks.call[server.worker] & stops).zero? }
  assert masks.call.values.any? { |mask| mask & stops == stops }, masks.call.inspect
end

test "every process has the program's name" do
  server = serve("-w", 1)
  [server.pid, server.mold, server.worker].each do |pid|
    assert_equal "hyperion-bpf\n", File.read("/proc/#{pid}/comm")
  end
  assert_equal "hyperion-bpf: supervisor", Procs.title(server.pid)
  assert_equal "hyperion-bpf: mold", Procs.title(server.mold)
end

test "HYPERION_MASTER_PID is the supervisor, for the app and for its commands" do
  server = serve("-w", 1)
  assert_equal server.pid.to_s, server.eval('ENV["HYPERION_MASTER_PID"]')
  assert_equal "#{server.pid}\n", server.eval("`echo $HYPERION_MASTER_PID`")
  assert_equal "[]", server.eval('ENV.keys.grep(/HYPERION_MOLD|LISTEN_/)')
end

on_threads "started by root: Ruby and the workers are the owner of the rackup file" do |threads|
  needs("root")
  server = serve_as(NOBODY.uid, "-t", threads, "-w", 2)
  server.children.each { |pid| assert_equal [[NOBODY.uid], [NOBODY.gid]], ids(pid), Procs.title(pid) }
  assert_equal [[0], [0]], ids(server.pid)
  lines = server.log.lines.grep(/run as user/)
  assert_equal 1, lines.size, server.log
  assert_match(/info: workers and Ruby run as user=#{NOBODY.name} \(the owner of the rackup file; --user root overrides\)$/, lines.first)
  assert_equal "#{[NOBODY.gid]} #{NOBODY.dir} #{NOBODY.name}", server.eval('"#{Process.groups} #{ENV["HOME"]} #{ENV["USER"]}"')
  # All of it: nothing can be taken back.
  assert_equal "[1, 1]", server.eval("[(Process::Sys.setuid(0) rescue 1), (Process::Sys.setgid(0) rescue 1)]")
  %w[CapPrm CapEff CapAmb].each { |key| assert_equal 0, Procs.status(server.worker, key).hex, key }
end

test "a replacement runs as that user, too" do
  needs("root")
  server = serve_as(NOBODY.uid, "-w", 1)
  old = [server.mold, server.worker]
  Process.kill(:KILL, *old)
  eventually("others") { server.mold && server.worker && ([server.mold, server.worker] & old).empty? }
  server.children.each { |pid| assert_equal [[NOBODY.uid], [NOBODY.gid]], ids(pid), Procs.title(pid) }
  assert_equal 1, server.log.lines.grep(/run as user/).size
end

test "--user root overrides, --user and --group name others" do
  needs("root")
  server = serve_as(NOBODY.uid, "--user", "root", "-w", 1)
  server.children.each { |pid| assert_equal [[0], [0]], ids(pid), Procs.title(pid) }
  refute_match(/run as user/, server.log)

  daemon = Etc.getpwnam("daemon")
  server = serve_as(NOBODY.uid, "--user", "daemon", "-w", 1)
  server.children.each { |pid| assert_equal [[daemon.uid], [daemon.gid]], ids(pid), Procs.title(pid) }
  assert_equal 1, server.log.lines.grep(/run as user=daemon$/).size, server.log

  server = serve_as(NOBODY.uid, "--group", "daemon", "-w", 1)
  server.children.each { |pid| assert_equal [[NOBODY.uid], [daemon.gid]], ids(pid), Procs.title(pid) }
end

test "an owner without a name of its own" do
  needs("root")
  uid = (60_000..64_000).find { |id| Etc.getpwuid(id).nil? rescue true }
  server = serve_as(uid, "-w", 1)
  server.children.each { |pid| assert_equal [[uid], [uid]], ids(pid), Procs.title(pid) }
  assert_match(/run as user=#{uid} /, server.log)
  assert_equal "[] /", server.eval('"#{Process.groups - [Process.gid]} #{ENV["HOME"]}"')
end

test "a rackup file of root's stays root's" do
  needs("root")
  server = serve("-w", 1)
  server.children.each { |pid| assert_equal [[0], [0]], ids(pid) }
  refute_match(/run as user/, server.log)
end

test "users and groups that cannot be" do
  needs("root")
  { ["--user", "nosuch_user"] => /--user nosuch_user: there is no such user/,
    ["--group", "nosuch_group"] => /--group nosuch_group: there is no such group/ }.each do |words, pattern|
    server = serve(*words, wait: false)
    assert_equal 2, server.wait.exitstatus
    assert_match pattern, server.log
    assert_equal 1, server.log.lines.size, server.log
  end
end

test "--user and --group without root" do
  needs("root") # to be somebody else
  [%w[--user root], %w[--group daemon]].each do |words|
    server = serve(*words, wait: false, nobody: true)
    assert_equal 2, server.wait.exitstatus
    assert_match(/--user and --group need root; start with sudo, or leave them out/, server.log)
    assert_equal 1, server.log.lines.size, server.log
  end
end

test "without root everything is the caller" do
  needs("root") # to be somebody else
  server = serve("-w", 1, nobody: true, env: { "RUBYLIB" => rack_for_all })
  [server.pid, *server.children].each { |pid| assert_equal [[NOBODY.uid], [NOBODY.gid]], ids(pid) }
  refute_match(/run as user/, server.log)
end
