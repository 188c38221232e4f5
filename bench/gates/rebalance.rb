# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative '../lib/paced'

# A hundred kept connections over four workers of one thread, each with a request every 100 ms. One
# request of another client's takes two seconds of the four.
module KeepAliveSteering
  # 99th percentile, ms.
  def self.p99(kit, path, *how)
    kit.with_server(:'hyperion-t1', kase: :rack_hello, resource: :stuck, extra: ['-w', '4', *how]) do |s|
      paced = Lab::Paced.new(s.port, connections: 100, every: 0.1)
      stuck = TCPSocket.new('127.0.0.1', s.port)
      paced.run(4, after: 1) { stuck.write("GET #{path} HTTP/1.1\r\nHost: a\r\n\r\n") }
      stuck.close
      return paced.percentile(0.99) * 1e3
    end
  end

  def self.findings(kit, path)
    rounds = Array.new(3) { [p99(kit, path), p99(kit, path, '--no-rebalance')] }
    with, without = rounds.transpose.map { |ms| Lab::Row.median(ms) }
    [Lab::Gate::Finding.new(format('p99 %.1f ms, %.1f ms with --no-rebalance = 1/%.0f (at most 1/5)', with, without,
                                   without / with), with * 5 <= without)]
  end
end

{ 'sleeps' => '/stuck', 'computes' => '/computes' }.each do |how, path|
  Lab.gate :"steer-keepalive-#{how}" do
    says "a handler that #{how} for 2 s does not hold up the kept connections of its worker"
    check { |kit| KeepAliveSteering.findings(kit, path) }
  end
end
