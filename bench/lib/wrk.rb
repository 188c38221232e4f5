# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'
require_relative 'generator'

module Lab
  # The generator of HTTP/1.1 load in a closed loop: wrk with one thread on a CPU of its own.
  module Wrk
    EACH_MAX = 1 << 20
    HEAD_SLACK = 64
    SCRIPT = File.join(__dir__, 'wrk.lua')

    class << self
      def absence
        'wrk is not installed (package wrk)' unless ENV['PATH'].split(':').any? { |d| File.executable?("#{d}/wrk") }
      end

      def version
        IO.popen(%w[wrk -v], err: %i[child out], &:gets).to_s[/wrk \S+/]
      rescue SystemCallError
        nil
      end

      # Returns wrk's own figures as a hash; raises Server::Failed when it gave none. each: look at every single answer, which is dear
      # for the generator, so only while the server warms up.
      def run(kase, url, cpu:, seconds:, script: SCRIPT, answer: nil, each: false)
        argv = ['wrk', '-t1', "-c#{kase.connections}", "-d#{seconds}s", '-s', script]
        kase.headers.each { |k, v| argv.push('-H', "#{k}: #{v}") }
        env = { 'LAB_DEPTH' => kase.depth.to_s, 'LAB_BODY' => kase.body_bytes.to_i.to_s }
        env['LAB_LENGTH'] = answer['body_bytes'].to_s if each && answer && !answer['body_varies'] && answer['body_bytes'] <= EACH_MAX
        out, took = Generator.collect([*argv, url], env: env, cpu: cpu, limit: seconds + 15)
        line = out[/^LAB (.*)$/, 1] or raise Server::Failed, "wrk: #{out.lines.last.to_s.strip}"
        figures = JSON.parse(line)
        raise Server::Failed, "#{figures['wrong']} answers of wrong status or length" if figures['wrong'].to_i.positive?

        figures.merge('generator_s' => took, 'length' => answer && !each ? wrong_lengths(kase, figures, answer) : 0)
      end

      private

      # wrk counts bytes, not lengths. What came must be what all answers together have; an answer that was on its way at
      # the end is counted by its bytes only, and a head may say keep-alive, close or neither.
      def wrong_lengths(kase, figures, answer)
        return 0 if answer['body_varies']

        one = answer['head_bytes'] + answer['wire_bytes']
        slack = (kase.connections * kase.depth * one) + (figures['requests'] * HEAD_SLACK)
        off = figures['bytes'] - (figures['requests'] * one)
        off.between?(-slack, slack) ? 0 : [off.abs / one, 1].max
      end
    end
  end
end
