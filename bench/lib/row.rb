# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module Lab
  # What one peer did in one case: a list of rounds and what they come to.
  class Row
    NOISY = 0.25    # (max - min) / median of the CPU cost
    DISTURBED = 0.1 # share of the server's CPU that somebody else took
    LOAD_BOUND = 0.9 # share of its CPU that the generator took: the server could have done more
    RESUMED = 0.99 # of the handshakes that should be
    REASON_MAX = 300
    BEHIND = 0.97 # open loop: of the rate that was asked for
    KEYS = %w[cpu_us_per_request requests_per_second p50_us p99_us p999_us rss_bytes].freeze

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
      @reason = reason.to_s.scrub.split.join(' ')[0, REASON_MAX]
    end

    def alive?
      @status == :ok
    end

    def measured?
      @rounds.any?
    end

    # figures: the generator's; cpu_ns: the server's; busy_ns: of its CPU, whoever took it.
    def add(round, figures, cpu_ns, source, busy_ns, rss = nil)
      raise Server::Failed, 'no request was answered' if figures['requests'].zero?

      seconds = figures['duration_us'] / 1e6
      # wrk times a batch, not a request, when it pipelines.
      figures = figures.merge((LATENCY + ['latency']).to_h { |k| [k, nil] }) if @kase.depth > 1 && @kase.load == :wrk
      @rounds << { 'round' => round, 'requests' => figures['requests'], 'errors' => Generator::ERRORS.sum { |k| figures[k].to_i },
                   'error_kinds' => figures.slice(*Generator::ERRORS).reject { |_, n| n.zero? },
                   'seconds' => seconds, 'bytes' => figures['bytes'],
                   'cpu_ns' => cpu_ns, 'cpu_source' => source.to_s,
                   'cpu_us_per_request' => cpu_ns / 1e3 / figures['requests'],
                   'requests_per_second' => figures['requests'] / seconds,
                   **figures.slice(*LATENCY, 'latency', 'least', 'most', 'resumed', 'rate_asked'),
                   'rss_bytes' => rss, 'generator_share' => figures['generator_s'] && (figures['generator_s'] / seconds),
                   'foreign_share' => [busy_ns - cpu_ns, 0].max / (seconds * 1e9) }
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

    def error_kinds
      all('error_kinds').compact.reduce({}) { |sum, kinds| sum.merge(kinds) { |_, a, b| a + b } }
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

    # Closed loop: the generator, not the server, was the limit of requests per second. The cost is not touched by it.
    def load_bound?
      measured? && !@kase.rate && median('generator_share').to_f > LOAD_BOUND
    end

    # Open loop: the server did not keep up with the rate, so its latencies are those of the requests that got in.
    def behind?
      measured? && @kase.rate && median('requests_per_second') < @kase.rate * BEHIND ? true : false
    end

    # Sessions were offered (after the first of each connection) and not taken: the cost is a mixture.
    def not_resumed?
      measured? && @kase.resumed && @rounds.sum { |r| r['resumed'].to_i + @kase.connections } < RESUMED * all('requests').sum
    end

    def marks
      { 'noisy' => noisy?, 'disturbed' => disturbed?, 'load-bound' => load_bound?, 'behind' => behind?, 'not-resumed' => not_resumed? }.select { |_, on| on }.keys
    end

    # Least answers over most answers to one connection, in a closed loop on kept connections.
    def fairness
      return nil if @kase.fresh || @kase.rate

      least, most = %w[least most].map { |k| all(k).compact }
      least.empty? ? nil : Row.median(least.zip(most).map { |a, b| a.to_f / [b, 1].max })
    end

    # percentile => microseconds, each the median of the rounds.
    def latency_curve
      curves = all('latency').compact
      curves.empty? ? {} : curves[0].keys.to_h { |p| [p, Row.median(curves.map { |c| c[p] })] }
    end

    # Median of the ratios of the same round: what the machine did in that round falls out.
    def ratio_to(other, key = 'cpu_us_per_request')
      theirs = other.rounds.to_h { |r| [r['round'], r[key]] }
      Row.median(@rounds.filter_map { |r| (t = theirs[r['round']]) && r[key] / t })
    end
  end
end
