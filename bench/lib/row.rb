# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module Lab
  # What one peer did in one case: a list of rounds and what they come to.
  class Row
    NOISY = 0.25    # (max - min) / median of the CPU cost
    DISTURBED = 0.1 # share of the server's CPU that somebody else took

    LATENCY = %w[p50_us p99_us p999_us max_us].freeze

    attr_reader :kase, :peer, :rounds, :status, :reason
    attr_accessor :answer

    def initialize(kase, peer)
      @kase = kase
      @peer = peer
      @rounds = []
      @status = :ok
    end

    def give_up(status, reason)
      @status = status
      @reason = reason
    end

    def alive?
      @status == :ok
    end

    def measured?
      @rounds.any?
    end

    def add(round, wrk, cpu_ns, source, busy_ns)
      errors = %w[connect read write status timeout].sum { |k| wrk.fetch(k) }
      raise Server::Failed, 'no request was answered' if wrk['requests'].zero?

      # wrk times a batch, not a request, when it pipelines.
      wrk = wrk.merge(wrk.slice(*LATENCY).transform_values { nil }) if @kase.depth > 1
      @rounds << { 'round' => round, 'requests' => wrk['requests'], 'errors' => errors,
                   'seconds' => wrk['duration_us'] / 1e6, 'bytes' => wrk['bytes'],
                   'cpu_ns' => cpu_ns, 'cpu_source' => source.to_s,
                   'cpu_us_per_request' => cpu_ns / 1e3 / wrk['requests'],
                   'requests_per_second' => wrk['requests'] * 1e6 / wrk['duration_us'],
                   'p50_us' => wrk['p50_us'], 'p99_us' => wrk['p99_us'], 'p999_us' => wrk['p999_us'],
                   'max_us' => wrk['max_us'],
                   'foreign_share' => [busy_ns - cpu_ns, 0].max / (wrk['duration_us'] * 1e3) }
    end

    def all(key)
      @rounds.map { |r| r[key] }
    end

    def median(key = 'cpu_us_per_request')
      Row.median(all(key))
    end

    def self.median(list)
      list = list.compact
      return nil if list.empty?

      s = list.sort
      (s[(s.size - 1) / 2] + s[s.size / 2]) / 2.0
    end

    def errors
      all('errors').sum
    end

    def spread
      cost = all('cpu_us_per_request')
      (cost.max - cost.min) / median
    end

    def noisy?
      measured? && spread > NOISY
    end

    def disturbed?
      measured? && median('foreign_share') > DISTURBED
    end

    # Median of the ratios of the same round: what the machine did in that round falls out.
    def ratio_to(other, key = 'cpu_us_per_request')
      theirs = other.rounds.to_h { |r| [r['round'], r[key]] }
      Row.median(@rounds.filter_map { |r| (t = theirs[r['round']]) && r[key] / t })
    end
  end
end
