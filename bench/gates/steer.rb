# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Who picks the worker of a new connection: the BPF program, or with --no-bpf the kernel's hash. Both
# in turn, the median of the rounds.
module Steer
  WORKERS = %w[-w 4 -t 1].freeze
  BOTH = { steered: [], hash: ['--no-bpf'] }.freeze
  # By itself; and what a user gets, with re-balancing.
  SLOW = { steered: %w[--no-rebalance], hash: %w[--no-bpf --no-rebalance], all: [], moved: %w[--no-bpf] }.freeze
  ROUNDS = 3
  COUNTERS = %w[TCPMigrateReqSuccess TCPMigrateReqFailure ListenOverflows].freeze

  # Every three seconds one request keeps its worker for two.
  def self.slow(kit, path, bound)
    p99 = SLOW.transform_values { [] }
    failed = 0
    ROUNDS.times do
      SLOW.each do |side, extra|
        kit.with_server(:'hyperion-t5', extra: WORKERS + extra, kase: :rack_hello, resource: :waits) do |s|
          r = kit.arrivals(s, '--rate', 300, '--seconds', 12, '--every', "3000:#{path}")
          p99[side] << (r['p99_us'] / 1e3)
          failed += r.values_at('refused', 'reset', 'cut', 'late').sum
        end
      end
    end
    steered, hash, all, moved = p99.values_at(:steered, :hash, :all, :moved).map { |list| Lab::Row.median(list) }
    [Lab::Gate::Finding.new("errors #{failed} (0)", failed.zero?),
     Lab::Gate::Finding.new(format('p99 %.1f ms, by hash %.1f ms = x %.3f (%s)', steered, hash, steered / hash,
                                   bound ? "at most #{bound}" : 'no bound: the core is shared'),
                            !bound || steered <= hash * bound),
     Lab::Gate::Finding.new(format('with re-balancing: steered %.1f ms, by hash %.1f ms (counted only)', all, moved), true)]
  end

  def self.counters
    names, values = File.readlines('/proc/net/netstat').grep(/^TcpExt:/).map(&:split)
    names.zip(values).to_h.slice(*COUNTERS).transform_values(&:to_i)
  end

  # The workers, but neither supervisor nor mold.
  def self.workers(server)
    server.tree.pids.select { |pid| File.read("/proc/#{pid}/cmdline").match?(/: worker \d+ \[/) }
  rescue Errno::ENOENT, Errno::ESRCH
    retry
  end

  def self.kill_one_a_second(server, seconds)
    ends = Lab.clock + seconds
    killed = 0
    while Lab.clock < ends
      sleep 1
      pid = workers(server).sample or next
      Process.kill(:KILL, pid)
      killed += 1
    end
    killed
  end

  # What waits in a queue when its worker dies either migrates or is reset; the kernel counts both.
  def self.kill(kit, seconds)
    kit.with_server(:'hyperion', extra: ['-w', '4']) do |s|
      before = counters
      killer = Thread.new { kill_one_a_second(s, seconds - 2) }
      r = kit.arrivals(s, '--rate', 1000, '--seconds', seconds, '--path', '/-/health')
      killed = killer.value
      moved, lost, full = counters.map { |name, n| n - before[name] }
      [Lab::Gate::Finding.new("#{killed} workers killed, #{r['answered']} answered, #{moved} had waited for one of them", killed >= seconds / 2),
       Lab::Gate::Finding.new("not taken and lost: #{lost} + #{full} of full queues (0)", (lost + full).zero?),
       Lab::Gate::Finding.new("refused #{r['refused']}, unanswered #{r['late']} (0)", (r['refused'] + r['late']).zero?),
       Lab::Gate::Finding.new("cut with the worker that had taken them: #{r['reset'] + r['cut']} (counted only)", true)]
    end
  end

  STATS = '/proc/sys/kernel/bpf_stats_enabled'

  def self.program
    line = `bpftool -j prog show`
    JSON.parse(line).select { |p| p['name'] == 'pick' }.max_by { |p| p['id'] }
  end

  # ns of the program per run, and connections per second of both.
  def self.cost(kit)
    old = File.read(STATS)
    rates = BOTH.transform_values { [] }
    ns = []
    ROUNDS.times do
      BOTH.each do |side, extra|
        kit.with_server(:hyperion, extra: ['-w', '4', *extra]) do |s|
          work = ['--connections', 64, '--seconds', 2, '--new']
          r = kit.load(s, *work)
          rates[side] << (r['requests'] / r['seconds'])
          next if side == :hash

          # On its own: reading the clock twice costs, too.
          File.write(STATS, '1')
          kit.load(s, *work)
          File.write(STATS, old)
          p = program
          ns << (p['run_time_ns'].to_f / p['run_cnt'])
        end
      end
    end
    per_run = Lab::Row.median(ns)
    ratio = Lab::Row.median(rates[:steered].zip(rates[:hash]).map { |a, b| a / b })
    [Lab::Gate::Finding.new(format('%.0f ns per connection (at most 500)', per_run), per_run <= 500),
     Lab::Gate::Finding.new(format('new connections per second x %.3f of the hash (at least 0.97)', ratio), ratio >= 0.97)]
  ensure
    File.write(STATS, old) if old
  end
end

Lab.gate :'steer-slow' do
  says 'a worker whose handler sleeps for two seconds gets no new connections meanwhile'
  check { |kit| Steer.slow(kit, '/nap', 0.1) }
end

Lab.gate :'steer-burn' do
  says 'a worker whose handler computes for two seconds gets none either'
  check { |kit| Steer.slow(kit, '/burn', nil) }
end

Lab.gate :'steer-kill' do
  says 'a worker is killed every second: what it had not taken is answered by the others'
  check { |kit| Steer.kill(kit, 60) }
end

Lab.gate :'steer-cost' do
  says 'the program costs next to nothing'
  check { |kit| Steer.cost(kit) }
end
