# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

module Lab
  # Whoever makes the load: a process on a CPU of its own that says at its end what it has counted.
  # All generators answer the same hash: requests, duration_us, bytes, errors of each kind, p50_us ... max_us,
  # latency (percentile => us), and what only some of them know.
  module Generator
    ERRORS = %w[connect read write status timeout length].freeze
    PERCENTILES = [10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100].freeze

    class << self
      # [what it said, seconds of CPU that it took]. It is ended after `limit` seconds, and when we are.
      def collect(argv, cpu:, limit:, env: {})
        before = own_children
        rd, wr = IO.pipe
        pid = Process.spawn(env, 'setpriv', '--pdeathsig', 'KILL', 'taskset', '-c', cpu.to_s, *argv, out: wr, err: wr, in: File::NULL,
                                                                                             pgroup: true)
        wr.close
        out = read_all(rd, limit, File.basename(argv[0]))
        Process.wait(pid)
        pid = nil
        [out, own_children - before]
      ensure
        rd&.close
        if pid
          Process.kill('KILL', pid)
          Process.wait(pid)
        end
      end

      # What a list of times in microseconds says.
      def latencies(times)
        times = times.sort
        curve = PERCENTILES.to_h { |p| [p.to_s, times[[(times.size * p / 100.0).ceil - 1, 0].max]] }
        { 'p50_us' => curve['50'], 'p99_us' => curve['99'], 'p999_us' => curve['99.9'], 'max_us' => curve['100'], 'latency' => curve }
      end

      private

      def read_all(rd, limit, name)
        out = +''
        deadline = Lab.clock + limit
        loop do
          left = deadline - Lab.clock
          raise Server::Failed, "#{name} does not end" if left <= 0 || !rd.wait_readable(left)

          out << rd.readpartial(65_536)
        end
      rescue EOFError
        out
      end

      def own_children
        Process.times.then { |t| t.cutime + t.cstime }
      end
    end
  end
end
