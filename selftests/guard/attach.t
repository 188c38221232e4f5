#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Attaching and what is left afterwards: nothing, however the server ends; nobody's program is replaced.

require_relative "netns"

def pins(server)
  Dir.glob("/sys/fs/bpf/hyperion/#{server.instance}{,/*}")
end

# Those of a server that runs, or was killed.
def locks(server)
  Dir.glob("/run/hyperion/guard-*").select { |path| File.read(path).to_i == server.pid }
end

# Who cleans up when that server is killed.
def guard_process(server)
  eventually("its guard") { server.workers.find { |pid| File.read("/proc/#{pid}/cmdline").delete("\0") == "hyperion-bpf: guard" } }
end

# The server does not start; what it says and its exit status.
def refused(net, *args, **how)
  server = net.serve(*args, wait: false, **how)
  status = server.wait
  [server.log, status.exitstatus]
end

%w[native generic tcx clsact].each do |mode|
  test "as before after a stop (#{mode})" do
    needs_mode(mode)
    net = Net.new
    before = net.traces
    server = net.serve("--attach", "g0", "--guard-mode", mode)
    assert_match(/guard: watches g0: /, server.log)
    # `ip` does not know tcx.
    refute before == net.traces, "nothing is to be seen" unless mode == "tcx"
    assert_equal ["hi", 1], [net.get, locks(server).size]
    assert_equal 0, server.stop.exitstatus
    assert_equal before, net.traces
    assert_equal [[], []], [pins(server), locks(server)]
  end
end

%w[native generic tcx clsact].each do |mode|
  test "as before after SIGKILL (#{mode})", seconds: 20 do
    needs_mode(mode)
    net = Net.new
    before = net.traces
    server = net.serve("--attach", "g0", "--guard-mode", mode, "--guard-deny", "0.0.0.0/0")
    assert_equal [nil, true], [net.get(seconds: 0.5), pins(server).grep(/guard/).any?]
    after = guard_process(server)
    server.signal(:KILL)
    server.wait
    eventually("the link, the qdisc and its maps to vanish") { net.traces == before && pins(server).grep(/guard/).empty? }
    eventually("who cleans up to end") { !File.exist?("/proc/#{after}") }
    assert_equal [], locks(server)
    # The other maps of a killed server stay until the next of its name.
    server = net.serve("--instance", server.instance, "--attach", "g0")
    server.stop
    assert_equal [before, []], [net.traces, pins(server)]
  end
end

[true, false].each do |qdisc|
  test "clsact: what stays when all are killed goes at the next start (#{qdisc ? "in a qdisc of another's" : "with its qdisc"})" do
    net = Net.new
    net.inside("g0", "tc", "qdisc", "add", "dev", "g0", "clsact") if qdisc
    before = net.traces
    server = net.serve("--attach", "g0", "--guard-mode", "clsact")
    Process.kill(:KILL, guard_process(server))
    server.signal(:KILL)
    server.wait
    assert_match(/guard_tc/, net.traces[2])
    server = net.serve("--attach", "g0", "--instance", server.instance)
    assert_equal "native", net.mode
    assert_equal before.drop(1), net.traces.drop(1)
    server.stop
    assert_equal before, net.traces
  end
end

test "killed and started again at once, again and again", seconds: 60 do
  net = Net.new
  before = net.traces
  instance = "selftest-again-#{Process.pid}"
  20.times do |i|
    server = net.serve("--attach", "g0", "--guard-mode", "clsact", "--instance", instance, bind: "tcp://#{Net::V4}:#{8100 + i}")
    server.signal(:KILL)
    server.wait
    # The next one meets who cleans up.
  end
  server = net.serve("--attach", "g0", "--instance", instance)
  assert_equal "hi", net.get
  server.stop
  assert_equal [before, []], [net.traces, pins(server)]
end

test "a filter of another's stays beside ours" do
  net = Net.new
  net.inside("g0", "tc", "qdisc", "add", "dev", "g0", "clsact")
  # Ours as it lies there: it guards no interface, whoever loads it.
  net.inside("g0", "tc", "filter", "add", "dev", "g0", "ingress", "pref", "10", "bpf", "da",
             "obj", "#{Server::BUILD}/gen/bpf/guard.bpf.o", "sec", "tc")
  before = net.traces
  assert_match(/pref 10 /, before[2])
  server = net.serve("--attach", "g0", "--guard-mode", "clsact", "--guard-deny", "10.77.0.0/24")
  assert_match(/pref 10 .*guard_tc.*pref 49152 .*guard_tc/m, net.traces[2])
  assert_equal nil, net.get(seconds: 0.5)
  server.stop
  assert_equal before, net.traces
end

test "another XDP program is not replaced, and tcx goes beside it" do
  needs_mode("tcx")
  net = Net.new
  other = net.serve("--attach", "g0", "--instance", "selftest-other-#{Process.pid}")
  # The lock is what tells servers apart; without it ours is anybody's.
  File.unlink(*locks(other))
  before = net.traces
  log, status = refused(net, "-b", "tcp://#{Net::V4}:8081", "--attach", "g0", bind: false)
  assert_equal 1, status
  assert_match(/guard: --attach g0: another XDP program is attached there: guard_xdp, id \d+\. It is not replaced: .*--guard-mode tcx/, log)
  assert_equal before, net.traces
  server = net.serve("-b", "tcp://#{Net::V4}:8081", "--attach", "g0", "--guard-mode", "tcx", bind: false)
  assert_equal %w[hi hi], [net.get, net.get(port: 8081)]
  assert_equal [8081], net.guard(server)[1].keys
  server.stop
  assert_equal before, net.traces
end

test "two servers on one interface" do
  net = Net.new
  server = net.serve("--attach", "g0")
  before = net.traces
  log, status = refused(net, "-b", "tcp://#{Net::V4}:8081", "--attach", "g0", "--guard-mode", "clsact", bind: false)
  assert_equal 1, status
  assert_match(/guard: --attach g0: another hyperion-bpf guards it pid=#{server.pid}; leave --attach out here, or stop that one/, log)
  assert_equal before, net.traces
  assert_equal "hi", net.get
  server.stop
  net.serve("-b", "tcp://#{Net::V4}:8081", "--attach", "g0", bind: false)
end

test "an interface that is not there, is down, or has no Ethernet" do
  net = Net.new
  net.run("ip", "-n", net.names["g0"], "link", "add", "d0", "type", "veth", "peer", "name", "d1")
  assert_match(/guard: --attach nope: no interface has that name; `ip link` lists them/, refused(net, "--attach", "nope")[0])
  log, status = refused(net, "--attach", "g0", "--attach", "d0")
  assert_equal 1, status
  assert_match(/guard: --attach d0: the interface is down: ip link set dev d0 up/, log)
  assert_match(/the interface is down/, refused(net, "--attach", "d0", "--check")[0])
  assert_equal nil, net.mode
end

test "without the permission" do
  net = Net.new
  log, status = refused(net, "--attach", "g0", nobody: true)
  assert_equal 1, status
  assert_match(/guard: cannot load its program: Operation not permitted; --attach needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN/, log)
  assert_match(/guard: --attach g0 needs BPF, which --no-bpf forbids/, refused(net, "--attach", "g0", "--no-bpf")[0])
end

test "as another user with three capabilities" do
  net = Net.new
  caps = "+bpf,+perfmon,+net_admin"
  dir = Dir.mktmpdir("hyperion-caps")
  Tap.after { FileUtils.remove_entry(dir) }
  File.chmod(0o755, dir)
  FileUtils.cp("#{Server::BUILD}/hyperion-bpf", dir)
  out, writer = IO.pipe
  pid = Process.spawn(*net.enter("g0"), "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps,
                      "--ambient-caps", caps, "#{dir}/hyperion-bpf", "--no-app", "-w", "1", "--attach", "g0",
                      "-b", "tcp://#{Net::V4}:8080", "--constant", "/=hi", chdir: "/", err: writer, out: File::NULL)
  Tap.after { Process.kill(:KILL, pid) && Process.wait(pid) }
  writer.close
  said = +""
  eventually("it to serve: #{said}") { (said << out.read_nonblock(4096, exception: false).to_s).include?("workers=1") }
  assert_match(/guard: watches g0: XDP in the driver/, said)
  assert_equal ["native", "hi"], [net.mode, net.get]
end

test "auto takes the next way where the driver has no XDP" do
  net = Net.new
  server = net.serve("--attach", "lo", "--guard-deny", "127.0.0.2", bind: "tcp://127.0.0.1:8080")
  assert_match(/guard: watches lo: generic XDP/, server.log)
  ask = ["curl", "-s", "-m", "1", "http://127.0.0.1:8080/", "--interface"]
  assert_equal "hi", net.inside("g0", *ask, "127.0.0.1")
  refute system(*net.enter("g0"), *ask, "127.0.0.2", out: File::NULL)
  server.stop
  assert_match(/--attach lo: the kernel refuses --guard-mode native: .*; auto tries the others/,
               refused(net, "--attach", "lo", "--guard-mode", "native").first)
end

test "a socket from systemd that takes both families is ours in both" do
  net = Net.new
  script = <<~'R'
    require "socket"
    s = Socket.new(:INET6, :STREAM)
    s.setsockopt(Socket::IPPROTO_IPV6, Socket::IPV6_V6ONLY, 0)
    s.bind(Addrinfo.tcp("::", 8080))
    s.listen(16)
    ENV["LISTEN_FDS"] = "1"
    ENV["LISTEN_PID"] = $$.to_s
    exec(*ARGV, 3 => s, close_others: true)
  R
  server = Server.start("-w", "1", "--constant", "/=hi", "--attach", "g0", "--guard-deny", "10.77.0.2", bind: false, wait: false,
                        before: [*net.enter("g0"), "ruby", "-e", script])
  net.wait_for(server)
  assert_equal [nil, "hi"], [net.get(seconds: 0.5), net.get(from: "fd77::2", to: Net::V6)]
  assert_equal [8080], net.guard(server)[1].keys
  assert net.guard(server)[1][8080]["dropped"]["deny"].positive?
end

test "its settings are checked" do
  needs("root")
  {
    %w[--guard-deny 10.0.0.1/8] => /--guard-deny 10\.0\.0\.1\/8: allowed is a prefix whose other bits are 0/,
    %w[--guard-allow x] => /--guard-allow x: allowed is an address or a prefix, like 192\.0\.2\.7/,
    %w[--guard-syn-rate 0] => /--guard-syn-rate 0: allowed is SYNs per second/,
    %w[--guard-syn-prefix-v4 33] => /--guard-syn-prefix-v4 33: allowed is bits of an IPv4 address, from 8 to 32/,
    %w[--guard-syn-prefix-v6 129] => /--guard-syn-prefix-v6 129: allowed is bits of an IPv6 address/,
    %w[--guard-mode xdp] => /--guard-mode xdp: allowed is auto, native/,
    %w[--attach a/b] => /--attach a\/b: allowed is the name of an interface/,
  }.each do |args, said|
    server = Server.start(*args, wait: false)
    assert_equal 2, server.wait.exitstatus
    assert_match(said, server.log)
  end
  server = Server.start("--guard-deny", "192.0.2.0/24")
  eventually("the warning") { server.log.include?("guard: its settings have no effect without --attach IFACE") }
end
