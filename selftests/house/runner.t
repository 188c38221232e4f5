#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The runner: what it makes of a program's TAP, of a skip and of a death.

require_relative "../harness/tap"
require "json"
require "open3"

RUN = File.join(Server::ROOT, "selftests/run")

# Runs a shell script as a test program; answers [output, whether prove would be content, verdicts].
def run_program(script, env = {})
  Dir.mktmpdir do |dir|
    program = File.join(dir, "sample")
    File.write(program, "#!/bin/bash\n#{script}")
    File.chmod(0o755, program)
    env = { "HYPERION_RESULTS" => dir, "HYPERION_CASES" => nil, "HYPERION_HIDDEN" => nil }.merge(env)
    output, status = Open3.capture2e(env, RUN, "--one", program)
    result = JSON.parse(File.read(Dir[File.join(dir, "*.json")].first))
    return [output, status.success?, result["cases"].map { |c| c[1] }]
  end
end

test "passes and failures are counted" do
  _, ok, verdicts = run_program("echo 1..3; echo ok 1 - a; echo not ok 2 - b; echo ok 3 - c; exit 1")
  refute ok
  assert_equal %w[passed failed passed], verdicts
end

test "a plan may come last, other lines become comments" do
  output, ok, verdicts = run_program("echo noise; echo ok 1 - a; echo more >&2; echo 1..1")
  assert ok, output
  assert_equal %w[passed], verdicts
  assert_include output, "# noise\n"
  assert_include output, "# more\n"
end

test "a skip without need is a failure" do
  output, ok, verdicts = run_program("echo 1..1; echo 'ok 1 - a # SKIP tool: bash is missing'")
  refute ok
  assert_equal %w[failed], verdicts
  assert_include output, "though this machine has it"
end

test "a skip with need is a skip" do
  output, ok, verdicts = run_program("echo 1..1; echo 'ok 1 - a # SKIP tool: no-such-tool is missing'")
  assert ok, output
  assert_equal %w[skipped], verdicts
end

test "a skip that names no capability is a failure" do
  _, ok, verdicts = run_program("echo 1..1; echo 'ok 1 - a # SKIP not today'")
  refute ok
  assert_equal %w[failed], verdicts
end

test "a capability that the mode takes away may be skipped" do
  script = "echo 1..1; echo 'ok 1 - a # SKIP tool: bash'"
  assert_equal %w[failed], run_program(script).last
  assert_equal %w[skipped], run_program(script, "HYPERION_HIDDEN" => "root,tool").last
end

test "exit 4 skips the whole program, with a reason" do
  _, ok, verdicts = run_program("echo '1..0 # SKIP tool: no-such-tool'; exit 4")
  assert ok
  assert_equal %w[skipped], verdicts
  _, ok, verdicts = run_program("echo '1..0 # SKIP tool: bash'; exit 4")
  refute ok
  assert_equal %w[failed], verdicts
end

test "exit 4 without the line is a failure" do
  assert_equal %w[failed], run_program("exit 4").last
end

test "a plan that is not kept is a failure" do
  assert_equal %w[passed failed], run_program("echo 1..2; echo ok 1 - a").last
  assert_equal %w[passed failed], run_program("echo ok 1 - a").last
end

test "a status without a failed case is a failure, a death too" do
  assert_equal %w[passed failed], run_program("echo 1..1; echo ok 1 - a; exit 3").last
  output, = run_program("echo 1..1; echo ok 1 - a; kill -SEGV $$")
  assert_include output, "killed by signal 11"
end

test "the time limit ends the program and what it started", seconds: 30 do
  output, ok, verdicts = run_program("sleep 1000 & echo child $!; echo 1..1; wait", "HYPERION_PROGRAM_SECONDS" => "1")
  refute ok
  assert_equal %w[failed], verdicts
  child = output[/child (\d+)/, 1].to_i
  eventually("the child to be gone") do
    Process.kill(0, child) && File.read("/proc/#{child}/stat")[/\) (\w)/, 1] == "Z"
  rescue Errno::ESRCH, Errno::ENOENT
    true
  end
end

test "the closing line counts what ran" do
  Dir.mktmpdir do |build|
    FileUtils.mkdir_p(File.join(build, "selftests/unit"))
    File.write(File.join(build, "selftests/list"), "unit/sample\nunit/missing\n")
    File.write(File.join(build, "selftests/unit/sample"),
               "#!/bin/sh\necho 1..3; echo ok 1 - a; echo 'ok 2 - b # SKIP tool: no-such-tool'; echo '# because'; echo not ok 3 - c\n")
    File.chmod(0o755, File.join(build, "selftests/unit/sample"))
    clean = ENV.keys.grep(/\AHYPERION_/).to_h { |key| [key, nil] }
    output, status = Open3.capture2e(clean, RUN, "-b", build, "unit/sample", "unit/missing")
    refute status.success?
    assert_equal "1 passed, 2 failed, 1 skipped", output.lines.last.chomp
    assert_include output, "  # because\n"
    assert_include output, "again: #{build}/selftests/unit/sample c\n"
    assert_match(/^skipped: .*tool|^skipped: .* b$/, output)
  end
end
