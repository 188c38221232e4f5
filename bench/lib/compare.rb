# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

module Lab
  # Two reports: what differs beyond noise. Where a reference (floor, nginx) ran in both, ratios to it are compared, as machines
  # and hours differ; else the costs themselves, which is said.
  class Compare
    LEAST = 0.1 # below that nothing is called a difference

    Line = Struct.new(:kase, :peer, :key, :before, :after, :verdict)

    def initialize(before, after)
      @before = before
      @after = after
    end

    def self.read(file)
      JSON.parse(File.read(file)).tap do |json|
        raise UsageError, "#{file}: schema #{json['schema'].inspect}, this lab reads #{Report::SCHEMA}" unless json['schema'] == Report::SCHEMA
      end
    rescue JSON::ParserError, SystemCallError => e
      raise UsageError, "#{file}: #{e.message}"
    end

    def lines
      index = measured(@after).to_h { |r| [[r['case'], r['peer']], r] }
      measured(@before).filter_map { |b| (a = index[[b['case'], b['peer']]]) && line(b, a) }
    end

    # Rows that ran in one of them only.
    def lost
      names = [@before, @after].map { |json| measured(json).map { |r| "#{r['case']} #{r['peer']}" } }
      [names[0] - names[1], names[1] - names[0]]
    end

    def print(out = $stdout)
      out.puts format('%-20s %-16s %-9s %10s %10s %8s  %s', 'case', 'peer', 'by', 'before', 'after', 'change', '')
      lines.each do |l|
        out.puts format('%-20s %-16s %-9s %10.3f %10.3f %+7.1f%%  %s', l.kase, l.peer, l.key, l.before, l.after,
                        100 * ((l.after / l.before) - 1), l.verdict)
      end
      lost.zip(%w[before after]) { |names, which| names.each { |n| out.puts "#{n}: only #{which}" } }
    end

    private

    def measured(json)
      json['rows'].select { |r| r['rounds']&.any? }
    end

    def line(before, after)
      key = %w[floor nginx].find { |n| n != before['peer'] && [before, after].all? { |r| r.dig('ratio', n) } }
      pair = [before, after].map { |r| key ? r.dig('ratio', key) : r.dig('median', 'cpu_us_per_request') }
      Line.new(before['case'], before['peer'], key ? "x #{key}" : 'us', *pair, verdict(before, after, pair))
    end

    # Beyond noise: more than the wider of both spreads (half of min to max, over the median), and not a trifle.
    def verdict(before, after, pair)
      return 'noisy' if [before, after].any? { |r| r['noisy'] || r['disturbed'] }

      change = (pair[1] / pair[0]) - 1
      noise = [LEAST, *[before, after].map { |r| r['spread'].to_f / 2 }].max
      return 'same' if change.abs <= noise

      change.positive? ? 'DEARER' : 'CHEAPER'
    end
  end
end
