#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# --observe: what the kernel knows of connections, by worker.

require_relative "top"
require_relative "exposition"

SO_ATTACH_FILTER = 26
VERIFIER_CEILING = 2000 # instructions that it may look at, per program: three times what it takes
RTT = "hyperion_tcp_rtt_seconds"
WAIT = "hyperion_tcp_accept_wait_seconds"

def observed(*args, **how)
  needs("bpf")
  port = Server.free_port
  server, folder = serve_counted("--observe", "--constant", "/=x", "--admin-listener-port", port, *args, **how)
  eventually("it serves") { server.log.include?("info: hyperion-bpf ") }
  skip("kernel: 5.11 with BTF") if server.log.include?("not observed") && !File.exist?("/sys/kernel/btf/vmlinux")
  [server, folder, port]
end

def scrape(port)
  Exposition.new(TCPSocket.open("127.0.0.1", port) { |s| s.write("GET /-/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") && s.read }.b.split("\r\n\r\n", 2).last)
end

def sum(metrics, name)
  metrics.all(name).values.sum.to_i
end

def get(server)
  server.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
end

# Nothing that comes to @socket is taken any more, not even an acknowledgement.
def deaf(socket)
  code = [0x06, 0, 0, 0].pack("SCCL") # return 0
  socket.setsockopt(Socket::SOL_SOCKET, SO_ATTACH_FILTER, [1].pack("Sx6") + [code].pack("P"))
end

test "as many connections as were made, each with its round-trip time and its wait" do
  server, _, port = observed("-w", 2)
  scrapes = 1
  server.workers.each { |pid| assert Process.kill(0, pid) }
  40.times { get(server) }
  m = eventually("all to be closed") do
    scrapes += 1
    m = scrape(port)
    # The scrape that reads it is open while it reads.
    m if sum(m, "#{RTT}_count") >= 40 + scrapes - 2
  end
  assert_equal 40 + scrapes - 1, sum(m, "hyperion_tcp_connections_total")
  assert_equal 40 + scrapes - 1, sum(m, "#{WAIT}_count")
  assert_equal 0, sum(m, "hyperion_tcp_synack_retransmits_total")
  assert_equal %w[0 1], m.all("hyperion_tcp_connections_total").keys.map { |l| l["worker"] }
  # Each is where the server has counted it.
  assert_equal m.all("#{WAIT}_count").values, m.all("hyperion_tcp_connections_total").values
  assert m.all("#{RTT}_sum").values.sum.positive?
end

test "retransmits of a worker whose client has gone deaf" do
  server, _, port = observed("-w", 1)
  before = sum(scrape(port), "hyperion_tcp_retransmits_total")
  server.connect do |socket|
    deaf(socket)
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually("an answer to be sent twice more", seconds: 5) { sum(scrape(port), "hyperion_tcp_retransmits_total") >= before + 2 }
  end
end

test "who waits for a stopped worker is seen to wait, from the SYN on" do
  server, _, port = observed("-w", 1)
  before = scrape(port)
  pid = server.workers.first
  Process.kill(:STOP, pid)
  eventually("it stands still") { File.read("/proc/#{pid}/stat")[/\) (\w)/, 1] == "T" }
  client = TCPSocket.new("127.0.0.1", server.port)
  sleep 0.3
  Process.kill(:CONT, pid)
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
  client.read
  after = scrape(port)
  waited = sum(after, "#{WAIT}_count") - after["#{WAIT}_bucket", worker: "0", le: "0.268435456"]
  assert_equal 1, waited
  assert after["#{WAIT}_sum", worker: "0"] - before["#{WAIT}_sum", worker: "0"] >= 0.3
end

test "a worker that replaces another goes on, and so do its numbers" do
  server, _, port = observed("-w", 1)
  3.times { get(server) }
  old = server.workers.first
  Process.kill(:KILL, old)
  eventually("another") { server.workers.any? && server.workers.first != old && get(server).include?("200") }
  m = scrape(port)
  assert sum(m, "hyperion_tcp_connections_total") >= 5
  assert sum(m, "#{WAIT}_count") >= 4
end

test "hyperion-top and /-/stats say the same" do
  server, folder, port = observed("-w", 1)
  3.times { get(server) }
  json = TCPSocket.open("127.0.0.1", port) { |s| s.write("GET /-/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") && s.read }.split("\r\n\r\n", 2).last
  stats = JSON.parse(json)["tcp"]
  assert_equal [[0, 4, 0, 0]], stats.map { |w| w.values_at("worker", "connections", "retransmits", "synack_retransmits") }
  assert_equal 4, stats.first["accept_wait"]["count"]
  assert stats.first["rtt"]["p50_ns"].positive?
  tcp = top(server, folder)["tcp"]
  assert_equal [0, 4, 4], [tcp.first["worker"], tcp.first["connections"], tcp.first["accept_wait"]["count"]]
end

test "it is off unless asked for, and nothing of it stays" do
  needs("bpf")
  server, = serve_counted("-w", 1)
  refute Dir.exist?("/sys/fs/bpf/hyperion/#{server.instance}") && Dir.children("/sys/fs/bpf/hyperion/#{server.instance}").include?("observe")
  server, = observed("-w", 1)
  assert File.exist?("/sys/fs/bpf/hyperion/#{server.instance}/observe")
  assert server.stop.success?
  refute File.exist?("/sys/fs/bpf/hyperion/#{server.instance}")
end

test "the verifier's work has a ceiling" do
  server, = observed("-w", 1)
  ids = Dir.glob("/proc/#{server.pid}/fdinfo/*").filter_map { |f| File.read(f)[/^prog_id:\s*(\d+)/, 1] rescue nil }.uniq
  verified = Dir.glob("/proc/#{server.pid}/fdinfo/*").filter_map { |f| File.read(f)[/^verified_insns:\s*(\d+)/, 1]&.to_i rescue nil }
  Tap.comment("#{ids.size} programs, verified instructions: #{verified.inspect}")
  assert verified.size >= 3
  verified.each { |n| assert n.positive? && n <= VERIFIER_CEILING, n.to_s }
end

test "without CAP_PERFMON it serves, and says once what it takes" do
  needs("root")
  needs("bpf")
  words = "-perfmon,-sys_admin"
  server, = serve_counted("--observe", "--constant", "/=x", "-w", 1, before: ["setpriv", "--bounding-set", words, "--inh-caps", words])
  eventually("it serves") { server.log.include?("info: hyperion-bpf ") }
  # Nothing else takes it: that is the only line.
  assert_equal 1, server.log.lines.grep(/bpf: /).size, server.log
  assert_match(/bpf: connections are not observed: .*; it takes CAP_PERFMON, and a kernel with BTF/, server.log)
  assert_include get(server), "200"
end
