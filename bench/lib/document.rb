# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative 'pictures'

module Lab
  # A report's JSON as Markdown, with pictures beside it: docs/BENCHMARKS.md is made by it, so it says nothing that the JSON does not.
  class Document
    WEAK = 1.1 # our best row costs so much more than the best other one

    def initialize(json, pictures: nil)
      @json = json
      @pictures = pictures
      @titles = json['cases'].to_h { |c| [c['name'], c] }
      @rack = json['peers'].select { |p| p['rack'] }.map { |p| p['name'] }
      @ours = json['peers'].select { |p| p['ours'] }.map { |p| p['name'] }
    end

    def text
      [head, weak, *@json['rows'].group_by { |r| r['case'] }.map { |name, rows| section(name, rows) }, absent].compact.join("\n")
    end

    # [case, our cheapest row, the cheapest other one, ratio], where we are dearer: servers of Rack apps among themselves, and those
    # without Ruby. The floor is a limit, no server.
    def weak_rows
      measured = @json['rows'].select { |r| r['rounds'].any? && r['peer'] != 'floor' }
      measured.group_by { |r| [r['case'], @rack.include?(r['peer'])] }.filter_map do |(name, _), rows|
        mine, other = rows.partition { |r| @ours.include?(r['peer']) }.map { |list| list.min_by { |r| cost(r) } }
        next unless mine && other && cost(mine) > cost(other) * WEAK

        [name, mine, other, cost(mine) / cost(other)]
      end
    end

    private

    def cost(row)
      row['median']['cpu_us_per_request']
    end

    def head
      m = @json['machine']
      s = @json['settings']
      <<~TEXT
        # Benchmarks

        Made by `bench/lab report` from a run of #{@json['began']}#{' that was stopped early' unless @json['complete']}; BENCHMARKING.md says how to read it.

        #{m['cpu']}#{' (virtual)' if m['hypervisor']}, Linux #{m['kernel']}, congestion control #{m['congestion_control']}, commit #{m['commit'] || '?'}.
        Server on CPU #{s['server_cpu']}, load on CPU #{s['load_cpu']}, loopback; #{s['rounds']} interleaved rounds of #{s['seconds']} s after #{s['warmup_seconds']} s of
        warm-up; medians, in brackets minimum and maximum. CPU is that of the server's processes.
      TEXT
    end

    def weak
      lines = weak_rows.map do |name, mine, other, ratio|
        format('- %s: %s takes %.2f us, %s %.2f us: %.2f times as much%s', name, mine['peer'], cost(mine), other['peer'], cost(other), ratio,
               [mine, other].any? { |r| r['noisy'] || r['disturbed'] } ? ' (noisy: not to be judged)' : '')
      end
      missing = @json['rows'].select { |r| r['status'] != 'ok' && @ours.include?(r['peer']) }.group_by { |r| r['case'] }
      lines += missing.map { |name, rows| "- #{name}: #{rows.map { |r| r['peer'] }.join(', ')} #{rows[0]['status']}: #{rows[0]['reason']}" }
      "## Where this server is weak\n\n#{lines.empty? ? 'No row of this run.' : lines.join("\n")}\n"
    end

    def section(name, rows)
      picture = @pictures&.then { |p| p.for_case(@json, name) }
      ["## #{name}", '', "#{@titles.fetch(name)['title']}.", '',
       '| peer | CPU us/request | requests/s | p50 us | p99 us | p99.9 us | RSS MiB | x floor | x nginx | |',
       '|---|---:|---:|---:|---:|---:|---:|---:|---:|---|',
       *rows.sort_by { |r| r['rounds'].any? ? cost(r) : Float::INFINITY }.map { |r| line(r) }, '',
       *(picture || []).flat_map { |title, file| ["![#{title}](#{file})", ''] }].join("\n")
    end

    def line(row)
      return "| #{row['peer']} | | | | | | | | | #{row['status']}: #{cell(row['reason'])} |" if row['rounds'].empty?

      med = row['median']
      figures = [format('%.2f (%.2f–%.2f)', cost(row), row['min']['cpu_us_per_request'], row['max']['cpu_us_per_request']),
                 med['requests_per_second'].round, *%w[p50_us p99_us p999_us].map { |k| med[k]&.round || '–' },
                 med['rss_bytes']&.then { |b| (b / 1048576.0).round } || '–',
                 *%w[floor nginx].map { |n| row.dig('ratio', n)&.then { |x| format('%.2f', x) } || '–' }]
      "| #{row['peer']} | #{figures.join(' | ')} | #{cell(notes(row))} |"
    end

    def notes(row)
      [*row['marks'], row['fairness'] && format('least/most %.2f', row['fairness']),
       row['errors'].positive? ? "#{row['errors']} errors" : nil, row['reason'] && "#{row['status']}: #{row['reason']}"].compact.join(', ')
    end

    def cell(text)
      text.to_s.gsub('|', '\\|')
    end

    def absent
      list = @json['peers'].select { |p| p['absent'] }
      "## Not here\n\n#{list.map { |p| "- #{p['name']}: #{p['absent']}" }.join("\n")}\n" if list.any?
    end
  end
end
