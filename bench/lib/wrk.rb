# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

module Lab
  # The generator of HTTP/1.1 load: wrk with one thread on a CPU of its own.
  module Wrk
    SCRIPT = File.join(__dir__, 'wrk.lua')

    class << self
      def absence
        'wrk is not installed (package wrk)' unless ENV['PATH'].split(':').any? { |d| File.executable?("#{d}/wrk") }
      end

      def version
        IO.popen(%w[wrk -v], err: %i[child out], &:gets).to_s[/wrk \S+/]
      end

      # Returns wrk's own figures as a hash; raises Server::Failed when it gave none.
      def run(kase, url, cpu:, seconds:, script: SCRIPT)
        argv = ['taskset', '-c', cpu.to_s, 'wrk', '-t1', "-c#{kase.connections}", "-d#{seconds}s", '-s', script]
        kase.headers.each { |k, v| argv.push('-H', "#{k}: #{v}") }
        out = collect({ 'LAB_DEPTH' => kase.depth.to_s }, argv + [url], seconds + 15)
        line = out[/^LAB (.*)$/, 1] or raise Server::Failed, "wrk: #{out.lines.last.to_s.strip}"
        JSON.parse(line)
      end

      private

      def collect(env, argv, limit)
        rd, wr = IO.pipe
        pid = Process.spawn(env, *argv, out: wr, err: wr, in: File::NULL, pgroup: true)
        wr.close
        out = +''
        deadline = Lab.clock + limit
        loop do
          left = deadline - Lab.clock
          raise Server::Failed, "wrk does not end" if left <= 0 || !rd.wait_readable(left)

          out << rd.readpartial(65_536)
        end
      rescue EOFError
        out
      ensure
        rd&.close
        if pid
          Process.kill("KILL", pid) unless out&.match?(/^LAB .*\n/)
          Process.wait(pid)
        end
      end
    end
  end
end
