# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# TAP for test scripts:
#
#   #!/usr/bin/env ruby
#   require_relative "../harness/tap"
#   test "what it shows" do
#     assert_equal 3, 1 + 2
#   end
#
# Cases run where they stand; the plan comes last. Arguments name the cases to run (* works), --list
# names them all. A case has 10 s (`test "x", seconds: 30`). needs("netns") skips where the machine
# cannot; the words are in capabilities.rb. Server (server.rb) is there too.

require "timeout"
require_relative "capabilities"

module Tap
  class Failed < StandardError; end
  class Skipped < StandardError; end

  HIDDEN = ENV.fetch("HYPERION_HIDDEN", "").split(",").freeze
  SCALE = [ENV.fetch("HYPERION_TIME_SCALE", "1").to_f, 1.0].max

  @nr = 0
  @nr_failed = 0
  @after = []
  @inside = false

  class << self
    attr_reader :nr, :nr_failed, :inside

    def wanted?(name)
      ARGV.empty? || ARGV.any? { |pattern| pattern == name || File.fnmatch(pattern, name) }
    end

    # A block to run when the case of the moment ends, whichever way; the last one first.
    def after(&block)
      @after.unshift(block)
    end

    def run(name, seconds, &block)
      return puts(name) if ARGV.first == "--list"
      return unless wanted?(name)

      header
      @nr += 1
      result = attempt(seconds, &block)
      @nr_failed += 1 if result.start_with?("not")
      puts result.sub("N", "#{@nr} - #{name}")
    end

    def header
      return if @header

      @header = true
      $stdout.sync = true
      puts "TAP version 13"
    end

    def comment(text)
      text.to_s.scrub("?").each_line { |line| puts "# #{line.chomp}" }
    end

    def finish(error)
      return if ARGV.first == "--list"

      header
      puts "1..#{@nr}" unless error && !error.is_a?(SystemExit)
      return if error

      comment("no such case: #{ARGV.join(" ")}") if @nr.zero?
      exit!(@nr.zero? || @nr_failed.positive? ? 1 : 0)
    end

    private

    def attempt(seconds, &block)
      @inside = true
      Timeout.timeout(seconds * SCALE, &block)
      "ok N"
    rescue Skipped => e
      "ok N # SKIP #{e.message}"
    rescue Failed => e
      comment("#{place(e)}: #{e.message}")
      failed
    rescue Timeout::Error => e
      comment("time limit of #{seconds} s, or a wait within: #{e.message}\n#{own_lines(e)}")
      failed
    rescue StandardError => e
      comment("#{e.class}: #{e.message}\n#{own_lines(e)}")
      failed
    ensure
      @after.shift.call until @after.empty?
      @inside = false
    end

    def failed
      Server.running.each { |server| comment("-- log of server #{server.pid}:\n#{server.log.lines.last(40).join}") }
      "not ok N"
    end

    # Where the script itself was, not this file.
    def place(error)
      error.backtrace.find { |line| !line.start_with?(__FILE__) }.to_s[/\A[^:]+:\d+/]
    end

    def own_lines(error)
      (error.backtrace || []).first(8).join("\n")
    end
  end

  module Checks
    def test(name, seconds: 10, &block)
      Tap.run(name, seconds, &block)
    end

    def skip(reason)
      raise Skipped, reason
    end

    # @rest: what the capability is asked for, "cpus", "4".
    def needs(word, rest = "")
      skip("#{word}: #{rest.to_s.empty? ? "not here" : rest}") unless Capabilities.has?(word, rest.to_s, hidden: HIDDEN)
    end

    def flunk(message)
      raise Failed, message
    end

    def assert(value, message = "expected a true value, got #{value.inspect}")
      flunk(message) unless value
    end

    def refute(value, message = "expected false or nil, got #{value.inspect}")
      flunk(message) if value
    end

    def assert_equal(expected, actual, message = nil)
      return if expected == actual

      flunk("#{message && "#{message}: "}expected\n  #{expected.inspect}\ngot\n  #{actual.inspect}")
    end

    def assert_match(pattern, actual, message = nil)
      flunk("#{message && "#{message}: "}expected #{pattern.inspect} in\n  #{actual.inspect}") unless actual.match?(pattern)
    end

    def refute_match(pattern, actual, message = nil)
      flunk("#{message && "#{message}: "}did not expect #{pattern.inspect} in\n  #{actual.inspect}") if actual.match?(pattern)
    end

    def assert_include(collection, item, message = nil)
      flunk("#{message && "#{message}: "}expected #{item.inspect} among\n  #{collection.inspect}") unless collection.include?(item)
    end

    def assert_raise(*classes)
      yield
    rescue *classes => e
      e
    else
      flunk("expected #{classes.join(" or ")}, nothing was raised")
    end

    # Waits until the block is true: for what must happen, not for how long it takes.
    def eventually(what, seconds: 5)
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds * SCALE
      until (value = yield)
        flunk("waited #{seconds} s for #{what}") if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
        sleep 0.01
      end
      value
    end
  end
end

require_relative "server"
include Tap::Checks # rubocop:disable Style/MixinUsage

at_exit do
  error = $!
  Server.running.each(&:kill)
  Tap.finish(error)
end
