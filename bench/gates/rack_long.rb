# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Two million requests of all sorts (bench/lib/mixed.lua asks, bench/apps/mixed.ru answers), in pieces.
# Between two pieces no connection is open: then memory and descriptors are counted.
module LongRun
  REQUESTS = 2_000_000
  LIMIT_S = 400
  PIECE_S = 4
  GROWTH = 0.02 # of the resident memory, last quarter over second

  Sample = Struct.new(:requests, :resident, :descriptors)

  def self.run(kit, server)
    began = Lab.clock
    samples = []
    total = wrong = 0
    while total < REQUESTS && Lab.clock - began < LIMIT_S
      r = kit.wrk(server, 'mixed.lua', connections: 100, seconds: PIECE_S)
      total += r['requests']
      wrong += %w[connect read write timeout].sum { |k| r[k] }
      sleep 0.5
      samples << Sample.new(total, server.tree.resident_bytes, server.tree.descriptors)
    end
    [samples, total, wrong]
  end

  # Mean of the samples of one quarter of the requests.
  def self.quarter(samples, number, total)
    list = samples.select { |s| (4.0 * s.requests / total).ceil == number }
    list.sum(&:resident).fdiv([list.size, 1].max)
  end

  def self.findings(samples, total, wrong)
    second, last = [2, 4].map { |n| quarter(samples, n, total) }
    fds = samples.drop(1).map(&:descriptors).minmax
    [Lab::Gate::Finding.new("#{total} requests (at least #{REQUESTS})", total >= REQUESTS),
     Lab::Gate::Finding.new("#{wrong} errors (0)", wrong.zero?),
     Lab::Gate::Finding.new(format('resident %.1f MiB in the second quarter, %.1f in the last (at most %d %% more)',
                                   second / 2**20, last / 2**20, GROWTH * 100), last <= second * (1 + GROWTH)),
     Lab::Gate::Finding.new("descriptors at rest #{fds.uniq.join(' to ')} (always the same)", fds.uniq.size == 1)]
  end
end

Lab.gate :'rack-long' do
  says 'two million requests leave nothing behind'
  check do |kit|
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :mixed) do |s|
      LongRun.findings(*LongRun.run(kit, s))
    end
  end
end
