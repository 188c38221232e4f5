#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Workers are forked by Ruby and belong to the supervisor; forks of the app keep nothing of ours.

require_relative "glue"

def supervise(*steps, files: {}, env: {})
  Glue.new(files).drive("supervise", "boot", "config.ru", *steps, env: env)
end

test "the worker belongs to the supervisor, the mold has no child left", seconds: 30 do
  glue = supervise("fork", "ruby", "puts 'in the worker'", "mold", "ruby", "puts 'in the mold'", "end", "5")
  assert_equal 5, glue.status, glue.err
  assert_include glue.said, "worker of the supervisor"
  assert_include glue.said, "mold has no children"
  assert_include glue.said, "worker ended with 0"
  assert_equal 1, glue.out.scan("in the worker").size
  assert_equal 1, glue.out.scan("in the mold").size
end

test "a mold forks again and again", seconds: 30 do
  # Each worker is done where the mold goes on.
  glue = supervise(*%w[fork mold fork mold fork mold])
  assert_equal 0, glue.status, glue.err
  assert_equal 3, glue.said.count("worker ended with 0")
end

test "fork hooks of gems run: Process._fork, and a Process.fork of the older kind", seconds: 30 do
  glue = supervise("ruby", <<~RUBY, "fork", "ruby", "p $seen", "mold", "end", "0")
    $seen = []
    Process.singleton_class.prepend(Module.new do
      def _fork = super.tap { |pid| $seen << :_fork if pid.zero? }
      def fork = super.tap { |pid| $seen << :fork unless pid }
    end)
  RUBY
  assert_equal 0, glue.status, glue.err
  # Once for the process in between, once for the worker.
  assert_include glue.out.lines(chomp: true), "[:_fork, :fork, :_fork, :fork]"
end

test "threads of the mold go on there; at_exit handlers run once in each, not in between", seconds: 30 do
  needs("plain", "a fork beside a thread that allocates locks libasan up")
  glue = supervise("ruby", <<~RUBY, "fork", "ruby", "puts %(threads \#{Thread.list.size})", "mold", "ruby", "sleep 0.01 until $n > $n.class::ZERO rescue p $!; puts %(threads \#{Thread.list.size})", "end", "0")
    class Integer; ZERO = 0; end
    $n = 0
    Thread.new { loop { $n += 1; sleep 0.001 } }
    at_exit { puts "at_exit" }
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_equal ["threads 1", "threads 2"], glue.out.lines(chomp: true).grep(/threads/).sort
  assert_equal 2, glue.out.scan("at_exit").size
end

test "buffered output is not written twice", seconds: 30 do
  glue = supervise("ruby", "$stdout.sync = false; $stdout.write('once')", "fork", "mold", "end", "0")
  assert_equal 1, glue.out.scan("once").size, glue.out
end

test "random numbers differ between workers", seconds: 30 do
  glue = supervise("ruby", "rand; Random.rand", *(%w[fork ruby] + ["puts %(r=\#{rand(1 << 60)})", "mold"]) * 3, "end", "0")
  numbers = glue.out.scan(/r=\d+/)
  assert_equal 3, numbers.uniq.size, glue.out
end

test "a fork hook that raises in the child ends that child, and the mold says so", seconds: 30 do
  glue = supervise("ruby", <<~RUBY, "fork", "ruby", "puts 'too far'", "mold", "ruby", "puts 'mold goes on'", "end", "0")
    Process.singleton_class.prepend(Module.new do
      def _fork = super.tap { |pid| raise "hook" if pid.zero? }
    end)
  RUBY
  assert_equal 1, glue.status
  assert_match(/hook \(RuntimeError\)/, glue.err)
  assert_match(/no worker: the process in between ended with 1/, glue.err)
  refute_match(/too far|mold goes on/, glue.out)
  refute_match(/worker ended/, glue.out)
end

test "a fork hook that raises only in the worker ends the worker, not the mold", seconds: 30 do
  glue = supervise("ruby", <<~RUBY, "fork", "ruby", "puts 'too far'", "mold", "ruby", "puts 'mold goes on'", "end", "0")
    $depth = 0
    Process.singleton_class.prepend(Module.new do
      def _fork = super.tap { |pid| raise "hook" if pid.zero? && ($depth += 1) == 2 }
    end)
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_match(/hook \(RuntimeError\)/, glue.err)
  assert_include glue.said, "worker ended with 1"
  assert_include glue.out, "mold goes on"
  refute_match(/too far/, glue.out)
end

test "forks of the app close what is ours; those of the server do not", seconds: 30 do
  look = "puts %(\#{name} \#{File.exist?(%(/proc/self/fd/\#{ENV['KEPT']})) ? :open : :closed})"
  glue = supervise("cleanup", "fork", "ruby", <<~RUBY, "mold", "end", "0")
    name = "worker"; #{look}; $stdout.flush
    name = "block"; Process.wait(fork { #{look} })
    name = "thread"; Thread.new { Process.wait(Process.fork { #{look} }) }.join
    name = "popen"; IO.popen("-") { |io| if io then print(io.read) else #{look} end }
    name = "plain"; if (pid = fork) then Process.wait(pid) else #{look}; exit!(!$stdout.flush) end
    name = "grandchild"; Process.wait(fork { Process.wait(fork { #{look} }) })
    name = "again worker"; #{look}
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_equal "", glue.err
  lines = glue.out.lines(chomp: true).grep(/open|closed/)
  assert_equal ["worker open", "block closed", "thread closed", "popen closed", "plain closed", "grandchild closed", "again worker open"], lines
end

test "a child of the app can be stopped by the signals that stop nothing here", seconds: 30 do
  glue = supervise("fork", "ruby", <<~RUBY, "raise", "mold", "end", "0")
    %w[TERM INT HUP USR1].each do |name|
      r, w = IO.pipe
      pid = fork { w << "x"; w.flush; sleep 5 }
      r.read(1)
      Process.kill(name, pid)
      Process.wait(pid)
      puts %(\#{name} \#{$?.signaled? || $?.exitstatus})
    end
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_equal ["HUP true", "INT true", "TERM true", "USR1 true"], glue.out.lines(chomp: true).grep(/true/).sort, glue.out
  assert_include glue.said, "survived 8 signals"
end

test "another child of the mold is none of ours", seconds: 30 do
  glue = supervise("ruby", "$pid = fork { sleep 0.05; exit! 9 }", "fork", "mold", "ruby", "p Process.wait2($pid)[1].exitstatus", "end", "0")
  assert_equal 0, glue.status, glue.err
  assert_include glue.said, "mold has some children"
  assert_include glue.out.lines(chomp: true), "9"
end

test "workers see what the mold has loaded, and their own hooks", seconds: 30 do
  files = { "hyperion.rb" => "before_fork { $x = [Process.pid] }\non_worker_boot { |i| puts %(\#{i} \#{$x != [Process.pid]} \#{APP.call({})[2]}) }" }
  glue = supervise("config", "hyperion.rb", "load", "config.ru", "production", "ruby", "1", "before_fork",
                   "fork", "worker_boot", "0", "mold", "fork", "worker_boot", "1", "mold", "end", "0", files: files)
  assert_equal 0, glue.status, glue.err
  assert_equal ['0 true ["hello"]', '1 true ["hello"]'], glue.out.lines(chomp: true).grep(/true|false/).sort
end
