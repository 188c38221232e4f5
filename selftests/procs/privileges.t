#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What each process may: the supervisor little once its start is over, molds and workers nothing, and that all works
# as before with it.

require_relative "app"

NAMES = { chown: 0, dac_override: 1, kill: 5, setgid: 6, setuid: 7, setpcap: 8, net_bind_service: 10, net_admin: 12, perfmon: 38, bpf: 39 }.freeze
BASE = %i[net_bind_service net_admin bpf].freeze
OTHERS = %i[kill setgid setuid].freeze
SETS = %w[CapInh CapPrm CapEff CapAmb].freeze
NOBODY = Etc.getpwuid(Server::NOBODY)
ALL = File.read("/proc/self/status")[/^CapBnd:\s*(\w+)/, 1].hex

def mask(*names)
  names.sum { |name| 1 << NAMES.fetch(name) }
end

def caps(pid)
  (SETS + ["CapBnd"]).to_h { |set| [set, Procs.status(pid, set).hex] }
end

# @mask is permitted and effective, nothing is inherited.
def assert_has(pid, mask)
  have = caps(pid)
  assert_equal [0, mask, mask, 0].map { |m| m.to_s(16) }, have.values_at(*SETS).map { |m| m.to_s(16) }, Procs.title(pid)
end

# exec() as root then gives nothing, and takes nothing away.
def no_new_privs?(server)
  Procs.status(server.pid, "NoNewPrivs") == "1"
end

def assert_none(pid)
  assert_has(pid, 0)
end


# By setpriv, from a place where everybody may execute it.
def start_as_nobody(*args, caps:, **how)
  dir = Dir.mktmpdir("hyperion-bin")
  Tap.after { FileUtils.remove_entry(dir, true) }
  File.chmod(0o755, dir)
  FileUtils.cp(File.join(Server::BUILD, "hyperion-bpf"), dir)
  words = caps.map { |cap| "+#{cap}" }.join(",")
  before = ["setpriv", "--reuid", NOBODY.uid.to_s, "--regid", NOBODY.gid.to_s, "--clear-groups"]
  before += ["--inh-caps", words, "--ambient-caps", words] unless caps.empty?
  # The name of the program comes behind: setpriv executes its copy.
  before += ["sh", "-c", 'shift; exec "$0" "$@"', File.join(dir, "hyperion-bpf")]
  server = Server.start(*args, before: before, nobody: false, wait: false, **how)
  eventually("it serves") { server.log.include?("info: hyperion-bpf ") || !server.alive? }
  server
end

def lost(server)
  server.log.lines.grep(/bpf: /)
end

# The folder of the app, and a HOME that may be gone into, are @uid's.
def serve_for(uid, *args, files: {}, **how)
  folder = app_folder(files)
  FileUtils.chown(uid, uid, [folder, File.join(folder, "config.ru")])
  serve(*args, folder: folder, env: { "RUBYLIB" => rack_for_all, "HOME" => "/root" }, **how)
end

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

def killed_and_replaced(server, index = 0)
  old = server.worker(index)
  Process.kill(:KILL, old)
  server.other_worker(old, index)
end

test "an app of another user: the supervisor has what it takes to go on, the others have nothing" do
  needs("root")
  server = serve_for(NOBODY.uid, "-w", 2)
  assert_has server.pid, mask(*BASE, *OTHERS)
  server.children.each { |pid| assert_none pid }
  # What sudo could give to a command of the app stays as it was, for this mold and for the next.
  [server.pid, *server.children].each { |pid| assert_equal ALL.to_s(16), caps(pid)["CapBnd"].to_s(16) }
  assert_none killed_and_replaced(server)
  old = server.mold
  Process.kill(:KILL, old)
  assert_none server.other_mold(old)
  server.children.each { |pid| assert_equal ALL.to_s(16), caps(pid)["CapBnd"].to_s(16) }
  worker = killed_and_replaced(server, 1)
  assert_none worker
  assert_equal worker.to_s, eventually("its answer") { (pid = server.eval("Process.pid")) == worker.to_s && pid }
  assert_equal [NOBODY.uid.to_s] * 4, Procs.status(worker, "Uid").split
  # One more than there were: a new listener, a new process.
  server.signal(:TTIN)
  assert_none eventually("a third worker") { server.worker(2) }
  assert server.stop.success?
  assert_nothing_remains server
end

test "a worker of another user that does not stop is killed", seconds: 20 do
  needs("root")
  server = serve_for(NOBODY.uid, "-w", 1, "--graceful-timeout", 1)
  Process.kill(:STOP, server.worker)
  assert server.stop(seconds: 20).success?
  assert_match(/killing a worker that does not stop/, server.log)
  assert_nothing_remains server
end

test "an app of root's has root's name only, also in its commands" do
  needs("root")
  server = serve("-w", 1)
  assert_has server.pid, mask(*BASE)
  assert_equal mask(*BASE, :setpcap), caps(server.pid)["CapBnd"]
  2.times do |i|
    server.children.each do |pid|
      assert_none pid
      assert_equal 0, caps(pid)["CapBnd"] if i.zero? || !no_new_privs?(server)
    end
    assert_equal "0", server.eval('`sed -n "s/^CapEff:.//p" /proc/self/status`.hex')
    old = server.mold
    Process.kill(:KILL, old)
    server.other_mold(old)
    killed_and_replaced(server)
  end
  assert_match(/as user=root \(its owner; without root's capabilities: --user root keeps them/, server.log)
end

test "--user root: the app has what root has, after a replacement, too" do
  needs("root")
  server = serve("-w", 1, "--user", "root")
  assert_equal mask(*BASE).to_s(16), caps(server.pid)["CapEff"].to_s(16)
  assert_equal (no_new_privs?(server) ? ALL : mask(*BASE)).to_s(16), caps(server.pid)["CapPrm"].to_s(16)
  2.times do
    server.children.each { |pid| assert_equal ALL.to_s(16), caps(pid)["CapEff"].to_s(16), Procs.title(pid) }
    assert_equal ALL.to_s, server.eval('`sed -n "s/^CapEff:.//p" /proc/self/status`.hex')
    old = server.mold
    Process.kill(:KILL, old)
    server.other_mold(old)
    killed_and_replaced(server)
  end
  assert server.stop.success?
end

test "without an app nobody can ever have more" do
  needs("root")
  [[[], BASE], [["--user", "nobody"], BASE + OTHERS], [["--user", "root"], BASE], [["--no-bpf"], [:net_bind_service]]].each do |words, kept|
    server = Server.start("-w", 1, *words)
    eventually("a worker") { server.worker }
    2.times do
      assert_has server.pid, mask(*kept)
      assert_none server.worker
      [server.pid, server.worker].each { |pid| assert_equal mask(*kept), caps(pid)["CapBnd"] }
      killed_and_replaced(server)
    end
    assert server.stop.success?
  end
end

# What each finds: a folder of root's or of the user's, new names and files that are there.
test "HUP opens logs in folders of root's and of the user's, and the files of both go" do
  needs("root")
  [0, NOBODY.uid].each do |owner|
    # Where only the owner may look.
    dir = Dir.mktmpdir("hyperion-logs")
    Tap.after { FileUtils.remove_entry(dir, true) }
    FileUtils.chown(owner, owner, dir)
    log, errors, pidfile, path = %w[access.log error.log pid socket].map { |name| File.join(dir, name) }
    server = serve_for(NOBODY.uid, "-w", 1, "--log-requests", "--log-file", log, "--error-log", errors, "--pidfile", pidfile,
                       "-b", "unix://#{path}", wait: false)
    eventually("it serves") { File.exist?(errors) && File.read(errors).include?("info: hyperion-bpf ") }
    # As logrotate does: one is made anew by us, one was made for the user.
    File.rename(log, "#{log}.1")
    File.rename(errors, "#{errors}.1")
    File.write(errors, "", perm: 0o640)
    FileUtils.chown(owner, owner, errors)
    server.signal(:HUP)
    eventually("new files") { File.exist?(log) && File.read(errors).include?("files opened anew") }
    server.eval("1")
    eventually("a line") { File.read(log).include?("method=POST") || File.read(log).include?('"POST"') }
    assert server.stop.success?
    assert_equal [], [pidfile, path].select { |file| File.exist?(file) }
  end
end

test "root's app, and a log in somebody else's folder" do
  needs("root")
  dir = Dir.mktmpdir("hyperion-logs")
  Tap.after { FileUtils.remove_entry(dir, true) }
  FileUtils.chown(NOBODY.uid, NOBODY.gid, dir)
  log = File.join(dir, "access.log")
  server = Server.start("-w", 1, "--log-file", log)
  eventually("it serves") { server.log.include?("info: hyperion-bpf ") }
  assert_has server.pid, mask(*BASE, :setuid, :setgid)
  File.unlink(log)
  server.signal(:HUP)
  eventually("a new file") { File.exist?(log) }
  assert_equal NOBODY.uid, File.stat(log).uid
end

test "an ordinary user with capabilities has all, and hands none on" do
  needs("root")
  needs("bpf")
  pins = "/sys/fs/bpf/hyperion/privileges-#{Process.pid}"
  name = File.basename(pins)
  [true, false].each do |folder|
    if folder
      FileUtils.mkdir_p(File.dirname(pins))
      Dir.mkdir(pins)
      File.chown(NOBODY.uid, NOBODY.gid, pins)
    end
    Tap.after { Dir.rmdir(pins) if Dir.exist?(pins) }
    # What it does not keep it can be given; nothing here takes it.
    more = folder ? %w[chown] : %w[chown perfmon]
    server = start_as_nobody("-w", 2, "--instance", name, "--admin-listener-port", Server.free_port,
                             caps: %w[bpf net_admin net_bind_service] + more)
    assert_has server.pid, mask(*BASE)
    server.children.each { |pid| assert_none pid }
    refute Procs.fds(server.pid).values.grep(/bpf-map/).empty?, "no BPF maps"
    if folder
      assert_equal [], lost(server)
      refute Dir.children(pins).empty?
      top = IO.popen([File.join(Server::BUILD, "hyperion-top"), "--once", "--json", "--instance", name], &:read)
      assert_match(/"pid":#{server.pid}\b/, top)
      assert_match(/"steering":\{"active":1\b/, top)
    else
      assert_equal 1, lost(server).size, server.log
      assert_match(/cannot pin the maps in #{pins}: Permission denied; all works but hyperion-top; as root: install -d -o #{NOBODY.uid} #{pins}$/, lost(server).first)
    end
    assert_none killed_and_replaced(server)
    assert_has server.pid, mask(*BASE)
    server.signal(:TTIN)
    eventually("a third worker") { server.worker(2) }
    assert server.stop.success?
    next unless folder

    # The folder is root's gift: it stays if its own folder is not ours.
    assert_equal [], Dir.children(pins)
    Dir.rmdir(pins)
  end
end

test "its app has no capabilities either" do
  needs("root")
  needs("bpf")
  folder = app_folder
  FileUtils.chown(NOBODY.uid, NOBODY.gid, [folder, File.join(folder, "config.ru")])
  server = start_as_nobody("-w", 1, "-e", "production", "config.ru", caps: %w[bpf net_admin], chdir: folder,
                           env: gem_env.merge("RUBYLIB" => rack_for_all, "HOME" => "/"))
  server.wait_until_serving
  assert_has server.pid, mask(:bpf, :net_admin)
  server.children.each { |pid| assert_none pid }
  assert_equal "0", server.eval('`sed -n "s/^CapEff:.//p" /proc/self/status`.hex')
end

test "a port below 1024 by CAP_NET_BIND_SERVICE alone, and what is lost is one line" do
  needs("root")
  server = start_as_nobody("-w", 1, caps: %w[net_bind_service])
  assert_has server.pid, mask(:net_bind_service)
  assert_equal 1, lost(server).size, server.log
  assert_match(/info: bpf: cannot be used: neither root nor CAP_BPF; the kernel's hash .*, the statistics are in shared memory in /, lost(server).first)
end

test "an ordinary user: one line says what is lost" do
  needs("root") # to be somebody else
  server = start_as_nobody("-w", 1, caps: [])
  [server.pid, *server.children].each { |pid| assert_none pid }
  assert_equal 1, lost(server).size, server.log
  assert_match(/bpf: cannot be used: neither root nor CAP_BPF; the kernel's hash picks the workers, the statistics are in shared memory in /, lost(server).first)
  assert_none killed_and_replaced(server)
  assert server.stop.success?
end

test "a program file with capabilities is as good" do
  needs("root")
  needs("bpf")
  needs("tool", "setcap")
  dir = Dir.mktmpdir("hyperion-bin")
  Tap.after { FileUtils.remove_entry(dir, true) }
  File.chmod(0o755, dir)
  binary = File.join(dir, "hyperion-bpf")
  FileUtils.cp(File.join(Server::BUILD, "hyperion-bpf"), binary)
  assert system("setcap", "cap_bpf,cap_net_admin=ep", binary)
  folder = app_folder
  FileUtils.chown(NOBODY.uid, NOBODY.gid, [folder, File.join(folder, "config.ru")])
  before = ["setpriv", "--reuid", NOBODY.uid.to_s, "--regid", NOBODY.gid.to_s, "--clear-groups", "sh", "-c", 'shift; exec "$0" "$@"', binary]
  server = Server.start("-w", 1, "-e", "production", "config.ru", before: before, nobody: false, no_uring: false, wait: false, chdir: folder,
                        env: gem_env.merge("RUBYLIB" => rack_for_all, "HOME" => "/"))
  server.wait_until_serving
  assert_has server.pid, mask(:bpf, :net_admin)
  # Executed once more by the supervisor, the file grants them once more.
  server.children.each { |pid| assert_none pid }
end
