# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Fast answers beside handlers that wait. Closed loop, so that both sides of a ratio are as busy as
# they can be; alone and beside in turn, the median of the ratios of the rounds counts.
module Waits
  ROUNDS = 5
  FAST = 50 # connections

  # nappers: how many connections ask for two seconds of sleep, again and again.
  def self.compare(kit, path:, nappers:)
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :waits) do |s|
      work = ['--connections', FAST, '--seconds', 2]
      kit.load(s, *work, path: path)
      rounds = Array.new(ROUNDS) do
        alone = kit.load(s, *work, path: path)
        beside = kit.load(s, *work, '--beside', "#{nappers}:/nap", path: path)
        [alone, beside]
      end
      findings(rounds, nappers)
    end
  end

  def self.findings(rounds, nappers)
    ratio = Lab::Row.median(rounds.map { |a, b| b['p99_us'] / a['p99_us'] })
    alone, beside = rounds.transpose.map { |list| Lab::Row.median(list.map { |r| r['p99_us'] }) / 1e3 }
    errors = rounds.flatten.sum { |r| r['errors'] + r['beside'].sum { |f| f['errors'] } }
    [Lab::Gate::Finding.new("errors #{errors} (0)", errors.zero?),
     Lab::Gate::Finding.new(format('p99 %.2f ms alone, %.2f ms beside %d naps = x %.2f (below 1.5)', alone, beside,
                                   nappers, ratio), ratio < 1.5)]
  end
end

Lab.gate :'rack-sleeps' do
  says 'a handler that waits ten times for 1 ms is not starved by a flood of others'
  check do |kit|
    rounds = kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :waits) do |s|
      Array.new(5) { kit.load(s, '--connections', 100, '--seconds', 3, '--beside', '1:/sleeps', path: '/') }
    end
    sleeps = rounds.map { |r| r['beside'][0] }
    p99 = Lab::Row.median(sleeps.map { |f| f['p99_us'] }) / 1e3
    errors = rounds.sum { |r| r['errors'] } + sleeps.sum { |f| f['errors'] }
    [Lab::Gate::Finding.new("errors #{errors} (0)", errors.zero?),
     Lab::Gate::Finding.new(format('p50 %.1f ms, p99 %.1f ms (below 30) beside %d hellos a second',
                                   Lab::Row.median(sleeps.map { |f| f['p50_us'] }) / 1e3, p99,
                                   Lab::Row.median(rounds.map { |r| r['requests'] / r['seconds'] })), p99 < 30)]
  end
end

Lab.gate :'rack-stuck-but-one' do
  says 'with all Ruby threads but one asleep, the fast handlers do not notice'
  check { |kit| Waits.compare(kit, path: '/', nappers: 4) }
end

Lab.gate :'rack-stuck-all' do
  says 'with all Ruby threads asleep and jobs queued, constant routes do not notice'
  check { |kit| Waits.compare(kit, path: '/-/health', nappers: 8) }
end
