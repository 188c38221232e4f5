# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Runs one test program for prove: in a process group and under a time limit, with the reasons of its
# skips checked, and with what came out left in a file for the runner to count.

require "json"
require_relative "capabilities"

class RunOne
  EXIT_SKIPPED = 4
  Case = Struct.new(:name, :verdict, :comments)
  FIRST_COMMENTS = 30 # lines shown with a failed case: where it began,
  LAST_COMMENTS = 5 # and how it ended

  def initialize(program)
    @program = program
    @limit = ENV.fetch("HYPERION_PROGRAM_SECONDS", "60").to_i
    @hidden = ENV.fetch("HYPERION_HIDDEN", "").split(",")
    @cases = []
    @plan = nil
    @problem = nil
    @comments = []
  end

  # What nohup, or a shell's "&", has left ignored: programs start with what a terminal gives them.
  USUAL = %w[INT HUP QUIT].freeze

  # Returns the exit status that prove should see.
  def call
    USUAL.each { |name| trap(name, "SYSTEM_DEFAULT") }
    status = follow
    judge(status)
    report
    @cases.any? { |c| c.verdict == "failed" } ? 1 : 0
  end

  private

  def say(line)
    @comments << line if line.start_with?("#")
    $stdout.puts(line)
    $stdout.flush
  end

  # The program's lines as they come, until it ends or its time is over.
  def follow
    reader, writer = IO.pipe
    words = @program.end_with?(".t") ? [@program] : [File.expand_path(@program)]
    pid = Process.spawn(*words, *ENV.fetch("HYPERION_CASES", "").split("\n"), in: File::NULL,
                        out: writer, err: writer, pgroup: true)
    writer.close
    deadline = now + @limit
    done = false
    rest = +""
    until done || now >= deadline
      next unless reader.wait_readable([deadline - now, 0].max)

      chunk = reader.read_nonblock(65_536, exception: false)
      done = chunk.nil?
      rest << chunk if chunk.is_a?(String)
      while (line = rest.slice!(/\A[^\n]*\n/))
        take(line.chomp.scrub("?"))
      end
    end
    @problem = "time limit of #{@limit} s: killed" unless done
    kill_group(pid)
    Process.wait2(pid).last
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # A program that has closed its output gets a moment to end by itself.
  def kill_group(pid)
    unless @problem
      100.times do
        break if File.read("/proc/#{pid}/stat")[/\) (\w)/, 1] == "Z"

        sleep 0.02
      end
    end
    Process.kill(:KILL, -pid)
  rescue Errno::ESRCH, Errno::ENOENT
    nil
  end

  def take(line)
    case line
    when /\A1\.\.0\s*#\s*skip\S*\s*(.*)/i then take_skip_all($1)
    when /\A1\.\.(\d+)/ then @plan = $1.to_i
                             say(line)
    when /\A(not )?ok\b\s*\d*\s*-?\s*(.*)/ then take_case($1.nil?, $2, line)
    else say(line.start_with?("#", "TAP version") ? line : "# #{line}")
    end
  end

  def take_case(passed, text, line)
    name, reason = text.split(/\s*#\s*skip\S*\s*/i, 2)
    complaint = reason && wrong_skip(reason)
    if complaint
      say("# #{complaint}")
      say("not ok #{@cases.size + 1} - #{name}")
    else
      say(line)
    end
    add(name, if !passed || complaint then "failed"
              elsif reason then "skipped"
              else "passed"
              end)
  end

  def take_skip_all(reason)
    complaint = wrong_skip(reason)
    @plan = complaint ? 1 : 0
    add(complaint ? "(whole program)" : "(whole program: #{reason})", complaint ? "failed" : "skipped")
    say(complaint ? "# #{complaint}\n1..1\nnot ok 1 - (whole program)" : "1..0 # SKIP #{reason}")
    @skipped_all = true
  end

  def add(name, verdict)
    comments = verdict == "failed" ? digest(@comments) : []
    @cases << Case.new(name, verdict, comments)
    @comments = []
  end

  def digest(lines)
    return lines if lines.size <= FIRST_COMMENTS + LAST_COMMENTS

    lines.first(FIRST_COMMENTS) + ["# ..."] + lines.last(LAST_COMMENTS)
  end

  # What is wrong with a reason to skip, or nil.
  def wrong_skip(reason)
    word, rest = Capabilities.parse(reason)
    return "skipped without naming a capability: #{reason}" unless word
    return nil unless Capabilities.has?(word, rest, hidden: @hidden)

    "skipped, though this machine has it: #{reason}"
  end

  # What the lines did not say: a death, a broken plan, an exit status without a failed case.
  def judge(status)
    ran = @skipped_all ? 0 : @cases.size
    @problem ||= "killed by signal #{status.termsig}" if status.signaled?
    @problem ||= "no plan" unless @plan
    @problem ||= "plan of #{@plan}, but #{ran} ran" unless @skipped_all || ran == @plan
    failed = @cases.any? { |c| c.verdict == "failed" }
    expected = @skipped_all ? [0, EXIT_SKIPPED] : [0]
    @problem ||= "exit status #{status.exitstatus}" unless failed || expected.include?(status.exitstatus)
    return unless @problem

    say("# #{@problem}")
    say("not ok #{@cases.size + 1} - (whole program) #{@problem}")
    add("(whole program) #{@problem}", "failed")
  end

  def report
    dir = ENV["HYPERION_RESULTS"] or return
    name = @program.gsub(/[^\w.-]/, "_")
    File.write(File.join(dir, "#{name}.json"), JSON.generate("program" => @program, "cases" => @cases.map(&:to_a)))
  end
end
