# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'
require 'time'

module Lab
  # A run as a table for people and as JSON for machines. docs/BENCHMARKING.md describes the JSON:
  # a field that changes its meaning or goes away raises SCHEMA; new fields do not.
  class Report
    SCHEMA = 1 # see docs/BENCHMARKING.md
    AGAINST = %i[floor nginx].freeze

    def initialize(runner, build:, began:)
      @runner = runner
      @build = build
      @began = began
      @facts = Machine.facts(build)
    end

    def table(out = $stdout)
      s = @runner.settings
      out.puts "#{@facts['cpu']}, Linux #{@facts['kernel']}, congestion control #{@facts['congestion_control']}, " \
               "commit #{@facts['commit'] || '?'}"
      out.puts "server on CPU #{s[:server_cpu]}, load on CPU #{s[:load_cpu]}; #{s[:rounds]} interleaved rounds " \
               "of #{s[:seconds]} s after #{Runner::WARMUP_S} s of warm-up; medians"
      @runner.rows.group_by(&:kase).each { |kase, rows| case_table(out, kase, rows) }
      out.puts "\nThis run is not complete." unless @runner.complete
    end

    def json
      { 'schema' => SCHEMA, 'program' => 'hyperion-bpf lab', 'began' => @began.utc.iso8601,
        'ended' => Time.now.utc.iso8601, 'complete' => @runner.complete, 'machine' => @facts,
        'settings' => @runner.settings.slice(:rounds, :seconds, :budget, :server_cpu, :load_cpu).transform_keys(&:to_s)
                             .merge('warmup_seconds' => Runner::WARMUP_S, 'noisy_above' => Row::NOISY,
                                    'disturbed_above' => Row::DISTURBED, 'load_bound_above' => Row::LOAD_BOUND),
        'peers' => @runner.rows.map(&:peer).uniq.map { |p| peer_json(p) },
        'cases' => @runner.rows.map(&:kase).uniq.map(&:facts),
        'rows' => @runner.rows.map { |r| row_json(r) } }
    end

    def write(file)
      File.write("#{file}.new", "#{JSON.pretty_generate(json)}\n")
      File.rename("#{file}.new", file)
    end

    private

    def case_table(out, kase, rows)
      out.puts "\n#{kase.name}: #{kase.title}"
      out.puts format('  %-15s %10s %-17s %10s %9s %9s %8s %8s  %s', 'peer', 'CPU us/req', ' (min-max)', 'req/s',
                      'p50 us', 'p99 us', 'x floor', 'x nginx', '')
      rows.sort_by { |r| r.measured? ? r.median : Float::INFINITY }.each do |r|
        next out.puts format('  %-15s %s', r.peer.name, r.alive? ? 'not measured' : "#{r.status}: #{r.reason}") unless r.measured?

        cost = r.all('cpu_us_per_request')
        out.puts format('  %-15s %10.3f %-17s %10d %9s %9s %8s %8s  %s', r.peer.name, r.median,
                        format('(%.2f-%.2f)', *cost.minmax), r.median('requests_per_second'),
                        *%w[p50_us p99_us].map { |k| r.median(k)&.round || '-' },
                        *AGAINST.map { |n| ratio(r, rows, n)&.then { |x| format('%.2f', x) } || '-' }, notes(r))
      end
    end

    def notes(row)
      n = []
      n.concat(row.marks)
      n << format('least/most %.2f', row.fairness) if row.fairness
      n << "#{row.errors} errors (#{row.error_kinds.map { |k, n| "#{n} #{k}" }.join(', ')})" if row.errors.positive?
      n << "#{row.status}: #{row.reason}" unless row.alive?
      n.join(', ')
    end

    def ratio(row, rows, name)
      other = rows.find { |o| o.kase == row.kase && o.peer.name == name && o.measured? }
      other && row.ratio_to(other)
    end

    def peer_json(peer)
      here = peer.program(@build)
      { 'name' => peer.name, 'title' => peer.title, 'program' => here && File.basename(here), 'version' => here && peer.version(@build),
        'absent' => here ? nil : peer.absence, 'ours' => peer.binary == 'build/hyperion-bpf', 'rack' => peer.paths.key?(:json) || peer.paths.key?(:pg) }
    end

    def row_json(row)
      head = { 'case' => row.kase.name, 'peer' => row.peer.name, 'status' => row.status, 'reason' => row.reason,
               'answer' => row.answer, 'rounds' => row.rounds }
      return head unless row.measured?

      keys = Row::KEYS
      head.merge('median' => keys.to_h { |k| [k, row.median(k)] },
                 'min' => keys.to_h { |k| [k, row.all(k).compact.min] }, 'max' => keys.to_h { |k| [k, row.all(k).compact.max] },
                 'spread' => row.spread, 'noisy' => row.noisy?, 'disturbed' => row.disturbed?, 'errors' => row.errors,
                 'marks' => row.marks, 'fairness' => row.fairness, 'error_kinds' => row.error_kinds, 'latency' => row.latency_curve,
                 'ratio' => AGAINST.to_h { |n| [n, ratio(row, @runner.rows, n)] })
    end
  end
end
