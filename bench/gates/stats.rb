# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'net/http'

# The full table of routes on four workers, and a client that scrapes it.
module ScrapeGate
  TOKEN = 'gate'
  NAMES = ('aaa'..'zzz').first(250).map { |name| "/some/path/#{name}/index" }

  # Each name on several connections: more than one worker gets it.
  def self.fill(server)
    8.times do
      Net::HTTP.start('127.0.0.1', server.port) { |http| NAMES.each { |path| http.get(path) } }
    end
  end

  # [seconds, the page]
  def self.scrape(server)
    Net::HTTP.start('127.0.0.1', server.port) do |http|
      from = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      page = http.get('/-/metrics', 'Authorization' => "Bearer #{TOKEN}").body
      [Process.clock_gettime(Process::CLOCK_MONOTONIC) - from, page]
    end
  end

  def self.stalls(page)
    page.scan(/^hyperion_loop_stalls_total\{.*\} (\d+)$/).sum { |n,| n.to_i }
  end
end

Lab.gate :'scrape' do
  says 'a scrape of 256 routes and 4 workers takes less than 10 ms and stalls no loop'
  check do |kit|
    kit.with_server(:'hyperion-t1', kase: :rack_hello, extra: ['-w', '4', '--admin-token', ScrapeGate::TOKEN]) do |s|
      ScrapeGate.fill(s)
      ScrapeGate.scrape(s)
      before = ScrapeGate.stalls(ScrapeGate.scrape(s).last)
      runs = Array.new(15) { ScrapeGate.scrape(s) }
      ms = Lab::Row.median(runs.map { |seconds, _| seconds * 1e3 })
      after = ScrapeGate.stalls(runs.last.last)
      rows = runs.last.last.scan(/^hyperion_request_duration_seconds_count/).size
      [Lab::Gate::Finding.new("#{rows} routes (at least 250)", rows >= 250),
       Lab::Gate::Finding.new(format('%.1f ms (at most 10)', ms), ms <= 10),
       Lab::Gate::Finding.new("#{after - before} turns of 2 ms and more in 15 scrapes (0)", after == before)]
    end
  end
end

Lab.gate :'stats-cost' do
  says 'counting a request takes at most 40 ns'
  check do |kit|
    IO.popen(['taskset', '-c', kit.load_cpu.to_s, kit.program('micro/stats')], &:read).lines.grep(%r{ns/request}).map do |line|
      what, ns = line.match(/\A(.+?)\s{2,}([\d.]+) ns/).captures
      Lab::Gate::Finding.new("#{what}: #{ns} ns (at most 40)", ns.to_f <= 40)
    end
  end
end
