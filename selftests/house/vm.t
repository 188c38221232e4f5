#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# make test-vm on the host's side: which kernel is fetched, what becomes of a VM's output, status and death, what
# is counted, what .ci/run makes of it. apt, dpkg and qemu are scripts here.

require_relative "../harness/tap"
require_relative "../vm/kernel_package"
require "open3"

ROOT = Server::ROOT
RUN = File.join(ROOT, "selftests/vm/run")
VM = File.join(ROOT, "selftests/vm/vm")

def script(folder, name, text)
  path = File.join(folder, name)
  File.write(path, "#!/bin/bash\n#{text}")
  File.chmod(0o755, path)
end

def in_folder
  Dir.mktmpdir { |folder| yield File.realpath(folder) }
end

# --- the package ---

NAMES = %w[linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64 linux-image-6.1.0-56-cloud-amd64 linux-image-6.1.0-56-rt-amd64
           linux-image-6.1.0-56-amd64-unsigned linux-image-6.1.0-56-amd64-dbg linux-image-6.12-amd64
           linux-image-6.12.117+deb12-amd64 linux-image-6.12.99+deb12-amd64 linux-image-6.12.9+bpo-amd64
           linux-image-6.12.200+deb12-cloud-amd64].freeze

test "a series' generic kernels, the newest last" do
  assert_equal %w[linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64], KernelPackage.new("6.1", "x").pick(NAMES)
  assert_equal %w[linux-image-6.12.9+bpo-amd64 linux-image-6.12.99+deb12-amd64 linux-image-6.12.117+deb12-amd64],
               KernelPackage.new("6.12", "x").pick(NAMES)
end

# An apt whose sources have @names; the package is its own name in a file, and so is what dpkg unpacks.
def with_apt(names, get: "touch $4.deb; echo $4 >>$LOG")
  in_folder do |folder|
    script(folder, "apt-cache", "[[ $1 = show ]] && exec grep -qx -- \"$2\" $0.names; cat $0.names")
    script(folder, "apt-get", "while [[ $1 = -* ]]; do [[ $1 = -o ]] && shift; shift; done\n" \
                              "[[ $1 = download ]] || exit 1; set -- - - - \"$2\"; #{get}")
    script(folder, "dpkg", "[[ $1 = -x ]] && mkdir -p \"$3/boot\"")
    File.write(File.join(folder, "apt-cache.names"), names.map { |name| "#{name}\n" }.join)
    path = ENV.fetch("PATH")
    Tap.after { ENV["PATH"] = path }
    ENV["PATH"] = "#{folder}:#{path}"
    ENV["LOG"] = File.join(folder, "log")
    File.write(ENV.fetch("LOG"), "")
    yield File.join(folder, "cache")
    ENV["PATH"] = path
  end
end

def fetched
  File.readlines(ENV.fetch("LOG"), chomp: true)
end

test "the newest is fetched, once" do
  with_apt(NAMES) do |cache|
    2.times { assert_equal File.join(cache, "linux-image-6.1.0-56-amd64"), KernelPackage.folder("6.1", cache) }
    assert_equal %w[linux-image-6.1.0-56-amd64], fetched
    assert_equal %w[boot], Dir.children(KernelPackage.folder("6.1", cache))
  end
end

test "a newer one takes the older one's place, other series stay" do
  with_apt(NAMES) do |cache|
    FileUtils.mkdir_p(%w[linux-image-6.12.99+deb12-amd64 linux-image-6.1.0-9-amd64].map { |name| File.join(cache, name) })
    KernelPackage.folder("6.12", cache)
    assert_equal %w[linux-image-6.1.0-9-amd64 linux-image-6.12.117+deb12-amd64], Dir.children(cache).grep(/linux/).sort
  end
end

test "what is here serves when none can be fetched; without it the reason is apt's" do
  with_apt(NAMES, get: "echo 'E: no route'; exit 100") do |cache|
    error = assert_raise(KernelPackage::Unavailable) { KernelPackage.folder("6.12", cache) }
    assert_include error.message, "E: no route"
    old = File.join(cache, "linux-image-6.12.99+deb12-amd64")
    FileUtils.mkdir_p(old)
    assert_equal old, KernelPackage.folder("6.12", cache)
    assert_equal %w[linux-image-6.12.99+deb12-amd64 lock], Dir.children(cache).sort
  end
end

test "a series that the sources lack" do
  with_apt([]) do |cache|
    error = assert_raise(KernelPackage::Unavailable) { KernelPackage.folder("6.12", cache) }
    assert_include error.message, "not among apt's sources"
  end
end

# --- the machine ---

# A kernel that is prepared already, and a qemu that is a script: ${10}, ${11}, ${12} are its channels, $TRY counts.
def with_qemu(text)
  in_folder do |folder|
    FileUtils.mkdir_p([File.join(folder, "boot"), File.join(folder, "lib/modules/9.9-test")])
    %w[boot/vmlinuz-9.9-test vmlinux initrd lib/modules/9.9-test/modules.dep].each do |name|
      path = File.join(folder, name)
      File.write(path, "x")
      File.utime(Time.now + 3600, Time.now + 3600, path)
    end
    script(folder, "qemu", "echo x >>$0.tries; TRY=$(wc -l <$0.tries)\nsay() { echo \"$*\" >&12; }\n#{text}")
    yield folder
  end
end

def vm(folder, *args)
  Open3.capture3({ "QEMU" => File.join(folder, "qemu") }, VM, "-k", folder, *args, "--", "true").then do |out, err, status|
    [out, err, status.exitstatus]
  end
end

def tries(folder)
  File.readlines(File.join(folder, "qemu.tries")).size
end

test "output and status come back", seconds: 30 do
  with_qemu("say start; echo to stdout >&10; echo to stderr >&11; say exit 7") do |folder|
    assert_equal ["to stdout\n", "to stderr\n", 7], vm(folder)
    assert_equal 1, tries(folder)
  end
end

test "a boot that fails is tried again, three times in all", seconds: 30 do
  with_qemu("[[ $TRY = 3 ]] || exit 1; say start; say exit 0") do |folder|
    _, err, status = vm(folder)
    assert_equal 0, status, err
    assert_equal 3, tries(folder)
  end
  with_qemu("echo no memory; exit 1") do |folder|
    _, err, status = vm(folder)
    assert_equal 125, status
    assert_equal 3, tries(folder)
    assert_include err, "no memory"
  end
end

test "a command that has begun is not run again", seconds: 30 do
  with_qemu("say start; exit 1") do |folder|
    _, err, status = vm(folder)
    assert_equal 125, status
    assert_equal 1, tries(folder)
    assert_include err, "without a status"
  end
end

test "qemu does not outlive its runner", seconds: 30 do
  with_qemu("echo $$ >$0.pid; say start; exec sleep 1000") do |folder|
    runner = Process.spawn({ "QEMU" => File.join(folder, "qemu") }, VM, "-k", folder, "true", err: File::NULL)
    pid = eventually("qemu to start") { File.file?(File.join(folder, "qemu.pid")) && File.read(File.join(folder, "qemu.pid"))[/\d+\n/].to_i.nonzero? }
    Process.kill(:KILL, runner)
    Process.wait(runner)
    eventually("qemu to end") { !File.exist?("/proc/#{pid}") }
  end
end

# --- what is counted ---

INSTALLED = "for p in $(grep -hv '^#' #{ROOT}/tools/build/packages*.txt); do echo \"ii  $p \"; done"

# [output, exit status] of the runner. The guest leaves @counts and ends with @status.
def test_vm(counts: nil, status: 0, kernels: 1, qemu: nil, fakes: {})
  leave = counts ? "echo '#{counts}' >CACHE/out/counts.json" : ":"
  with_qemu(qemu || "say start; #{leave}; say exit #{status}") do |folder|
    qemu_path = File.join(folder, "qemu")
    File.write(qemu_path, File.read(qemu_path).sub("CACHE", folder))
    { "dpkg-query" => INSTALLED }.merge(fakes).each { |name, text| script(folder, name, text) }
    series = fakes.key?("apt-cache") ? ["-k", "6.12"] : ["-k", folder] * kernels
    output, process = Open3.capture2e({ "QEMU" => qemu_path, "PATH" => "#{folder}:#{ENV.fetch("PATH")}" },
                                      RUN, "-c", folder, *series, "unit/sample")
    return [output.lines.last.chomp, process.exitstatus, output]
  end
end

PASSED = '{"passed":5,"failed":0,"skipped":2}'
NO_APT = { "apt-cache" => "exit 100", "apt-get" => "echo 'E: no network'; exit 100", "sudo" => "exit 1" }.freeze

test "the counts of all kernels in one line", seconds: 30 do
  assert_equal ["10 passed, 0 failed, 4 skipped", 0], test_vm(counts: PASSED, kernels: 2).first(2)
end

test "a failure inside is one outside", seconds: 30 do
  assert_equal ["5 passed, 3 failed, 2 skipped", 1],
               test_vm(counts: PASSED.sub('"failed":0', '"failed":3'), status: 1).first(2)
end

test "no counts, or counts that do not fit the status, are a failure", seconds: 30 do
  assert_equal ["0 passed, 1 failed, 0 skipped", 1], test_vm(status: 0).first(2)
  assert_equal ["5 passed, 1 failed, 2 skipped", 1], test_vm(counts: PASSED, status: 1).first(2)
  assert_equal ["0 passed, 1 failed, 0 skipped", 1], test_vm(counts: '{"passed":0,"failed":0,"skipped":0}').first(2)
end

test "a VM that does not boot is a failure", seconds: 30 do
  assert_equal ["0 passed, 1 failed, 0 skipped", 1], test_vm(qemu: "exit 1").first(2)
end

test "a kernel that cannot be had is a skip, with the reason", seconds: 30 do
  line, status, output = test_vm(fakes: NO_APT)
  assert_equal ["0 passed, 0 failed, 1 skipped", 0], [line, status], output
  assert_match(/^skipped: Linux 6\.12: no package .*: not among apt's sources$/, output)
end

test "an emulator that cannot be had is a skip, with the reason", seconds: 30 do
  line, status, output = test_vm(fakes: NO_APT.merge("dpkg-query" => "true"))
  assert_equal ["0 passed, 0 failed, 1 skipped", 0], [line, status], output
  assert_match(/^skipped: Linux 6\.12: no emulator: .*apt-get could not install: qemu-system-x86/, output)
end

# --- what CI makes of it ---

test ".ci/run runs both, and fails when either does" do
  in_folder do |folder|
    FileUtils.mkdir_p(File.join(folder, ".ci"))
    FileUtils.cp(File.join(ROOT, ".ci/run"), File.join(folder, ".ci"))
    script(folder, "make", "echo \"$1\"; [[ $1 = \"$FAILS\" ]] && exit 2; exit 0")
    { "none" => true, "test" => false, "test-vm" => false }.each do |fails, passes|
      output, status = Open3.capture2e({ "PATH" => "#{folder}:#{ENV.fetch("PATH")}", "FAILS" => fails }, File.join(folder, ".ci/run"))
      assert_equal [%w[test test-vm], passes], [output.split, status.success?], fails
    end
  end
end
