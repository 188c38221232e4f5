# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module Lab
  # A process and all its descendants, and what they cost. Reads /proc only.
  class ProcessTree
    TICK_NS = 1_000_000_000 / Integer(`getconf CLK_TCK`)

    attr_reader :root

    def initialize(root)
      @root = root
    end

    # pid => fields of /proc/PID/stat after the name, so index 1 is the parent.
    def self.stats
      Dir.children('/proc').grep(/\A\d+\z/).filter_map do |pid|
        s = File.read("/proc/#{pid}/stat")
        [pid.to_i, s[(s.rindex(')') + 2)..].split]
      rescue SystemCallError
        nil
      end.to_h
    end

    def pids
      stats = self.class.stats
      kids = stats.keys.group_by { |p| stats[p][1].to_i }
      found = []
      todo = [@root]
      while (pid = todo.shift)
        found << pid if stats.key?(pid)
        todo.concat(kids.fetch(pid, []))
      end
      found
    end

    # Those without children: the workers.
    def leaves
      stats = self.class.stats
      parents = stats.values.map { |f| f[1].to_i }
      pids.reject { |p| parents.include?(p) }
    end

    # CPU time so far. schedstat is exact but forgets threads that have ended; the ticks of
    # /proc/PID/stat are coarse but remember them, and the children that were waited for.
    Cpu = Struct.new(:exact_ns, :tick_ns)
    def cpu
      exact = tick = 0
      pids.each do |pid|
        f = File.read("/proc/#{pid}/stat")
        tick += f[(f.rindex(')') + 2)..].split[11, 4].sum(&:to_i) * TICK_NS
        Dir.glob("/proc/#{pid}/task/*/schedstat") { |s| exact += File.read(s).to_i }
      rescue SystemCallError
        next
      end
      Cpu.new(exact, tick)
    end

    # What is resident, counted page by page: /proc/PID/status lags behind.
    def resident_bytes
      pids.sum do |p|
        File.read("/proc/#{p}/smaps_rollup")[/^Rss:\s+(\d+)/, 1].to_i * 1024
      rescue SystemCallError # it has ended
        0
      end
    end

    def descriptors
      pids.sum { |p| Dir.children("/proc/#{p}/fd").size }
    end

    # Times that any thread went to sleep, which it does once per wake-up.
    def sleeps
      pids.flat_map { |p| Dir.glob("/proc/#{p}/task/*/status") }
          .sum { |s| File.read(s)[/^voluntary_ctxt_switches:\s+(\d+)/, 1].to_i }
    end

    # [source, ns] between two readings.
    def self.used(before, after)
      exact = after.exact_ns - before.exact_ns
      tick = after.tick_ns - before.tick_ns
      lost = tick - exact > exact * 0.1 + 4 * TICK_NS
      lost ? [:ticks, tick] : [:schedstat, exact]
    end

    # Busy time of one CPU, whoever used it (steal counts: the machine was not ours).
    def self.cpu_busy_ns(cpu)
      f = File.foreach('/proc/stat').find { |l| l.start_with?("cpu#{cpu} ") }.split.drop(1).map(&:to_i)
      (f.sum - f[3] - f[4] - f[8].to_i - f[9].to_i) * TICK_NS
    end
  end
end
