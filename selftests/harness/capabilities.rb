# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What this machine can do, found out by trying. A reason to skip starts with one of these words;
# what was skipped for a capability that is there counts as a failure.

require "etc"
require "rbconfig"
require "socket"
require_relative "../apps/gems"

module Capabilities
  IO_URING_SETUP = 425
  IORING_SETUP_SINGLE_ISSUER = 1 << 12
  IORING_SETUP_DEFER_TASKRUN = 1 << 13
  SYS_BPF = { "x86_64" => 321, "aarch64" => 280 }.fetch(RbConfig::CONFIG["host_cpu"], nil)
  BPF_PROG_LOAD = 5
  BPF_PROG_TYPE_SK_REUSEPORT = 21
  TCP_ULP = 31

  module_function

  # The word before the colon and what follows it; nil when the reason does not start with one.
  def parse(reason)
    reason.match(/\A(\w+):\s*(.*)\z/)&.captures&.then { |word, rest| PROBES.key?(word) ? [word, rest] : nil }
  end

  # @hidden: words that this run takes away on purpose (a seccomp filter, another user).
  def has?(word, rest = "", hidden: [])
    return false if hidden.include?(word)

    @known ||= {}
    @known.fetch([word, rest]) { |key| @known[key] = PROBES.fetch(word).call(rest) }
  end

  def kernel
    Etc.uname[:release].split(".").first(2).map(&:to_i)
  end

  def quiet_syscall(*args)
    old, $VERBOSE = $VERBOSE, nil
    syscall(*args)
  ensure
    $VERBOSE = old
  end

  # syscall takes a number; a string it would refuse for its NULs.
  def address(bytes)
    [bytes].pack("P").unpack1("J")
  end

  # The whole of what the server's io_uring loop asks for, or nothing.
  def io_uring
    params = [4, 4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN].pack("LLL").ljust(120, "\0")
    IO.for_fd(quiet_syscall(IO_URING_SETUP, 4, address(params))).close
    true
  rescue SystemCallError, NotImplementedError
    false
  end

  # Loads "return 1" as the kind of program that steers.
  def bpf
    return false unless SYS_BPF

    code = [0xb7, 0, 0, 1, 0x95, 0, 0, 0].pack("CCsl" * 2)
    licence = "GPL\0"
    attr = [BPF_PROG_TYPE_SK_REUSEPORT, 2].pack("LL") + [code].pack("P") + [licence].pack("P")
    attr = attr.ljust(144, "\0")
    IO.for_fd(quiet_syscall(SYS_BPF, BPF_PROG_LOAD, address(attr), attr.size)).close
    true
  rescue SystemCallError, NotImplementedError
    false
  end

  def ktls
    server = TCPServer.new("127.0.0.1", 0)
    client = TCPSocket.new("127.0.0.1", server.addr[1])
    client.setsockopt(Socket::IPPROTO_TCP, TCP_ULP, "tls")
    true
  rescue SystemCallError
    false
  ensure
    [client, server].compact.each(&:close)
  end

  def ipv6
    TCPServer.new("::1", 0).close
    true
  rescue SystemCallError
    false
  end

  def tool(name)
    (ENV.fetch("PATH", "").split(":") + %w[/usr/sbin /sbin]).any? { |dir| File.executable?(File.join(dir, name)) }
  end

  # "cpus: 4 ..." is a reason where there are fewer than 4; "kernel: 6.10 ..." below 6.10; and so on.
  PROBES = {
    "io_uring" => ->(_) { io_uring },
    "bpf" => ->(_) { bpf },
    "ktls" => ->(_) { ktls },
    "netns" => ->(_) { system("unshare", "-n", "true", out: File::NULL, err: File::NULL) == true },
    # In the VM of selftests/vm; not in it, where what takes seconds takes minutes.
    "vm" => ->(_) { !ENV["HYPERION_VM"].nil? },
    "native" => ->(_) { ENV["HYPERION_VM"].nil? },
    "root" => ->(_) { Process.euid.zero? },
    "ipv6" => ->(_) { ipv6 },
    "gems" => ->(rest) { Gems.installed?(rest[/\A\S+/].to_s) },
    "cpus" => ->(rest) { Etc.nprocessors >= rest.to_i },
    "kernel" => ->(rest) { (kernel <=> rest.split(".").map(&:to_i)) >= 0 },
    "tool" => ->(rest) { tool(rest[/\A\S+/].to_s) },
    # The case cannot run under a sanitizer: a reason in those builds only.
    "plain" => ->(_) { ENV["HYPERION_SANITIZED"] != "1" },
  }.freeze
end
