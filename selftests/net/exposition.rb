# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Reads Prometheus' text format 0.0.4 and OpenMetrics 1.0, and takes nothing that they forbid.

require "open3"

class Exposition
  class Wrong < StandardError; end

  NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/
  LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"/
  SAMPLE = /\A(#{NAME})(?:\{((?:#{LABEL},?)*)\})? (\S+)\z/
  SUFFIXES = { "histogram" => %w[_bucket _sum _count], "gauge" => [""], "unknown" => [""] }.freeze

  attr_reader :types, :samples

  # As the client library of Prometheus' own authors reads it: how many families and samples it finds.
  LIBRARY = <<~PYTHON
    import sys
    from prometheus_client import parser
    from prometheus_client.openmetrics import parser as open_parser
    parse = open_parser if sys.argv[1] == 'open' else parser
    families = list(parse.text_string_to_metric_families(sys.stdin.read()))
    print(len(families), sum(len(f.samples) for f in families))
  PYTHON

  def self.by_library(text, open: false)
    out, status = Open3.capture2e("/usr/bin/python3", "-c", LIBRARY, open ? "open" : "text", stdin_data: text)
    raise Wrong, out unless status.success?

    out.split.map(&:to_i)
  end

  def initialize(text, open: false)
    @open = open
    @types = {}
    @helps = {}
    @samples = {}
    @family = nil
    raise Wrong, "no line feed at the end" unless text.end_with?("\n")

    lines = text.lines(chomp: true)
    raise Wrong, "no # EOF" if open && lines.pop != "# EOF"

    lines.each { |line| read(line) }
    check_histograms
  end

  # The value of a sample, nil if there is none.
  def [](name, **labels)
    @samples[[name, labels.transform_keys(&:to_s)]]
  end

  # Each set of labels of a sample, with its value.
  def all(name)
    @samples.filter_map { |(n, labels), value| [labels, value] if n == name }.to_h
  end

  private

  def read(line)
    case line
    when /\A# HELP (#{NAME}) (.*)\z/
      wrong(line) if @helps.key?($1) || $2.match?(@open ? /\\(?![\\n"])|(?<!\\)"/ : /\\(?![\\n])/)
      @helps[$1] = $2
    when /\A# TYPE (#{NAME}) (counter|gauge|histogram|unknown)\z/
      wrong(line) if @types.key?($1) || (!@open && $2 == "unknown")
      @types[@family = $1] = $2
    when SAMPLE then take($1, $2.to_s, $+, line)
    else wrong(line)
    end
  end

  # Samples stand right behind the TYPE of their family, with the suffixes that it may have.
  def take(name, labels, value, line)
    type = @types[@family] or wrong(line)
    suffixes = type == "counter" ? [@open ? "_total" : ""] : SUFFIXES.fetch(type)
    wrong(line) unless suffixes.any? { |suffix| name == @family + suffix }
    key = [name, labels.scan(LABEL).to_h { |k, v| [k, v.gsub(/\\(.)/) { $1 == "n" ? "\n" : $1 }] }]
    wrong(line) if @samples.key?(key)
    @samples[key] = Float(value)
  rescue ArgumentError
    wrong(line)
  end

  def check_histograms
    @types.each do |family, type|
      next unless type == "histogram"

      all("#{family}_bucket").group_by { |labels, _| labels.reject { |k, _| k == "le" } }.each do |labels, buckets|
        les = buckets.map { |b, _| b["le"] == "+Inf" ? Float::INFINITY : Float(b["le"]) }
        wrong("#{family} #{labels}: bounds") unless les == les.sort.uniq && les.last == Float::INFINITY
        counts = buckets.map(&:last)
        wrong("#{family} #{labels}: counts fall") unless counts == counts.sort
        wrong("#{family} #{labels}: count") unless counts.last == @samples[["#{family}_count", labels]]
        wrong("#{family} #{labels}: sum") unless @samples.key?(["#{family}_sum", labels])
      end
    end
  end

  def wrong(line)
    raise Wrong, line
  end
end
