#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What the other programs that run in the VM stand on: its root, its file systems, its modules.

require_relative "../harness/tap"

def guest(name, &block)
  test(name) do
    needs("vm")
    instance_eval(&block)
  end
end

# [what, where, kind] of the last mount on @point.
def mount_on(point)
  File.readlines("/proc/self/mounts").map(&:split).reverse.find { |words| words[1] == point }.to_a
end

guest "the kernel is the package's, we are root" do
  assert_equal ENV.fetch("HYPERION_VM"), Etc.uname[:release]
  assert_equal 0, Process.euid
end

guest "the root is a layer over the host's, the tree is there and may be written to" do
  assert_equal "overlay", mount_on("/")[2]
  path = File.join(Server::ROOT, "selftests/vm/written-by-#{File.basename(__FILE__)}")
  Tap.after { FileUtils.rm_f(path) }
  File.write(path, "x")
  assert_equal "x", File.read(path)
  assert File.executable?(File.join(Server::BUILD, "hyperion-bpf"))
end

guest "/tmp, /run and /dev/shm are memory of the guest's own" do
  %w[/tmp /run /dev/shm].each { |point| assert_equal "tmpfs", mount_on(point)[2], point }
  assert_equal 0o1777, File.stat("/tmp").mode & 0o7777
end

guest "bpffs and one cgroup tree; the command in a group of its own" do
  assert_equal "bpf", mount_on("/sys/fs/bpf")[2]
  assert_equal "cgroup2", mount_on("/sys/fs/cgroup")[2]
  assert_equal "0::/vm\n", File.read("/proc/self/cgroup")
end

guest "loopback is up, with IPv6" do
  %w[127.0.0.1 ::1].each do |address|
    server = TCPServer.new(address, 0)
    client = TCPSocket.new(address, server.addr[1])
    client.write("x")
    assert_equal "x", server.accept.read(1)
    client.close
  end
end

# A ULP's module is loaded by the kernel itself, which asks /sbin/modprobe in PID 1's root.
guest "the kernel finds its modules by itself" do
  loaded = -> { File.readlines("/proc/modules").any? { |line| line.start_with?("tls ") } }
  assert Capabilities.ktls
  assert loaded.call
end

guest "what the server stands on is there" do
  %w[io_uring bpf netns].each { |word| assert Capabilities.has?(word), word }
end
