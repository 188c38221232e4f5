# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Two network namespaces with a veth pair between them, made for a case and removed with it: a server
# is guarded on g0, frames and clients come from c0.
#
#   net = Net.new
#   server = net.serve("--attach", "g0")
#   net.send_frames("src=10.77.0.2 dst=10.77.0.1 dport=8080 flags=2", count: 5)

require_relative "../net/top"

# Ends the case where the kernel has no such mode.
def needs_mode(mode)
  needs("kernel", "6.6") if mode == "tcx"
end

class Net
  SENDER = File.expand_path(File.join(Server::BUILD, "selftests/guard/sender"), Server::ROOT)
  MACS = { "g0" => "02:00:00:00:00:01", "c0" => "02:00:00:00:00:02" }.freeze
  PORT = 8080
  V4 = "10.77.0.1"
  V6 = "fd77::1"

  class << self
    attr_accessor :number
  end
  self.number = 0

  attr_reader :names

  # @clients: addresses of c0; none: it answers nothing, and its kernel says nothing by itself.
  def initialize(clients: %w[10.77.0.2/24 fd77::2/64])
    needs("root")
    needs("netns")
    needs("bpf")
    nr = Net.number += 1
    @names = { "g0" => "hyperion-#{Process.pid}-#{nr}s", "c0" => "hyperion-#{Process.pid}-#{nr}c" }
    Tap.after { close }
    @names.each_value { |name| run("ip", "netns", "add", name) }
    run("ip", "-n", names["g0"], "link", "add", "g0", "address", MACS["g0"], "type", "veth",
        "peer", "name", "c0", "address", MACS["c0"], "netns", names["c0"])
    # Nothing but what a test sends: no solicitations, no reports.
    inside("c0", "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/c0/disable_ipv6") if clients.none? { |c| c.include?(":") }
    address("g0", "#{V4}/24")
    address("g0", "#{V6}/64")
    clients.each { |cidr| address("c0", cidr) }
    @names.each { |link, name| run("ip", "-n", name, "link", "set", link, "up") }
    run("ip", "-n", names["g0"], "link", "set", "lo", "up")
  end

  def address(link, cidr)
    run("ip", "-n", names[link], "addr", "add", cidr, "dev", link, *("nodad" if cidr.include?(":")))
  end

  def run(*words)
    out, status = Open3.capture2e(*words)
    status.success? ? out : flunk("#{words.join(" ")}: #{out}")
  end

  # The words that run a command on that side; what is mounted stays as it is.
  def enter(link)
    ["nsenter", "--net=/run/netns/#{names.fetch(link)}"]
  end

  def inside(link, *words)
    run(*enter(link), *words)
  end

  # A server on g0's addresses; @wait: until it serves.
  def serve(*args, bind: "tcp://#{V4}:#{PORT}", wait: true, **how)
    server = Server.start("-w", "1", "--no-log-requests", "--constant", "/=hi", *args, bind: bind, wait: false,
                          before: enter("g0"), **how)
    wait_for(server) if wait
    server
  end

  def wait_for(server)
    eventually("the server to serve: #{server.log}", seconds: 10) do
      raise Server::DidNotStart, server.log unless server.alive?

      server.log.include?("workers=")
    end
  end

  # Bytes of one frame.
  def send_frames(words, count: 1)
    inside("c0", SENDER, "c0", MACS["g0"], *words.split, "count=#{count}").to_i
  end

  # What curl says: the body, or nil.
  def get(from: "10.77.0.2", to: V4, port: PORT, seconds: 1)
    out, status = Open3.capture2e(*enter("c0"), "curl", "-s", "-g", "-m", seconds.to_s, "--interface", from,
                                  "http://#{to.include?(":") ? "[#{to}]" : to}:#{port}/")
    status.success? ? out : nil
  end

  # What the guard of that server has counted on g0: [by kind, by port]
  def guard(server)
    out, err, status = run_top(server.instance, Dir.tmpdir, "--once", "--json")
    assert_equal [0, ""], [status, err]
    row = JSON.parse(out).fetch("guard").first
    [row["seen"], row["ports"].to_h { |p| [p["port"], p] }]
  end

  # Everything that an attachment could leave behind.
  def traces
    [%w[ip -details link], %w[tc qdisc show], %w[tc filter show dev g0 ingress]].map do |words|
      # On stderr `ip` complains of namespaces of others that vanish meanwhile.
      out, err, status = Open3.capture3(*enter("g0"), *words)
      status.success? ? out : flunk("#{words.join(" ")}: #{err}")
    end
  end

  def mode
    flags = inside("g0", "ip", "-details", "link", "show", "g0")
    return "native" if flags.match?(/ xdp /)
    return "generic" if flags.match?(/ xdpgeneric /)

    nil
  end

  # Of /proc/net/snmp and netstat there: "Tcp.InSegs"
  def tcp
    text = inside("g0", "cat", "/proc/net/snmp", "/proc/net/netstat")
    text.lines.each_slice(2).flat_map do |names, values|
      proto, *names = names.split
      names.zip(values.split.drop(1)).map { |name, value| [proto.chomp(":") + ".#{name}", value.to_i] }
    end.to_h
  end

  private

  # Locks of the killed are found again by the next server there; here comes none.
  def close
    names.each_value do |name|
      path = "/run/netns/#{name}"
      FileUtils.rm_f(Dir.glob("/run/hyperion/guard-#{File.stat(path).ino}-*")) if File.exist?(path)
      system("ip", "netns", "del", name, err: File::NULL)
    end
  end
end
