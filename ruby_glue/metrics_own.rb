# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The app's own counters, gauges and histograms. They stand in the same scrape as the server's: each
# worker publishes its numbers as text (bpf/abi.h), whoever is scraped adds them up. Any thread.

module Hyperion
  class Metrics
    NAME = /\A[a-zA-Z_:][a-zA-Z0-9_:]*\z/
    LABEL = /\A(?!__)[a-zA-Z_][a-zA-Z0-9_]*\z/
    OURS = /\A(hyperion|process)_/
    SUFFIX = /_(total|bucket|count|sum|created)\z/ # of samples, which would look like another family's
    TAKEN_LABELS = %w[le quantile worker].freeze
    VALUE_MAX = 128 # characters of a label's value; what is longer is cut
    HELP_MAX = 200
    FAMILIES_MAX = 200
    BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10].freeze
    BUCKETS_MAX = 60
    NUMBER_ROOM = 26 # bytes of a number, at most

    # Numbers of one name, for each set of labels' values.
    class Family
      attr_reader :name, :labels, :help

      def initialize(own, name, help, labels)
        @own = own
        @name = name
        @help = help
        @labels = labels
        @series = {}
      end

      def head = "#\t#{name}\t#{help}\n"

      # Appends its lines. With the lock.
      def write(text)
        @series.each { |labels, value| text << kind << "\t" << name << "\t" << labels << "\t" << shown(value) << "\n" }
      end

      # What was counted while the app was loaded would be counted by each worker. With the lock.
      def forget
        @series.transform_values! { zero }
      end

      # May one with these be used in its place?
      def same?(kind, labels, **) = self.class == kind && self.labels == labels

      private

      def zero = 0
      def shown(value) = value.to_s
      def room = NUMBER_ROOM

      # What an earlier worker of this place had counted.
      def earlier(fields) = Own.number(fields.first)

      # Replaces a value by what the block makes of it.
      def change(given)
        labels = key(given)
        @own.change do
          unless @series.key?(labels)
            next @own.drop unless @own.room?(name, labels, room)

            before = @own.take(kind, name, labels)
            @series[labels] = before ? earlier(before) : zero
          end
          @series[labels] = yield(@series[labels])
        end
        nil
      end

      def key(given)
        raise ArgumentError, "#{name}: labels #{@labels.inspect} are needed, not #{given.keys.inspect}" unless
          given.size == @labels.size && @labels.all? { |label| given.key?(label) }

        @labels.map { |label| "#{label}=\"#{escaped(given[label])}\"" }.join(",")
      end

      def escaped(value)
        text = value.to_s.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub[0, VALUE_MAX]
        text.gsub(/[\\"\n]/, "\\" => "\\\\", "\"" => "\\\"", "\n" => "\\n").gsub(/[[:cntrl:]]/, " ")
      end

      def finite(value)
        return value if value.is_a?(Integer) && value.bit_length < 64

        number = Float(value)
        raise ArgumentError, "#{name}: a finite number is needed, not #{value.inspect}" unless number.finite?

        number
      end
    end

    # It only grows.
    class Counter < Family
      def kind = "c"

      def increment(by = 1, **labels)
        by = finite(by)
        raise ArgumentError, "#{name}: a counter only grows, by #{by} it would not" if by.negative?

        change(labels) { |value| value + by }
      end
    end

    # What is now, in this worker.
    class Gauge < Family
      def kind = "g"

      def set(value, **labels)
        value = finite(value)
        change(labels) { value }
      end

      def increment(by = 1, **labels)
        by = finite(by)
        change(labels) { |value| value + by }
      end

      def decrement(by = 1, **labels) = increment(-by, **labels)

      # It was set once, for all workers.
      def forget; end
    end

    # How values are spread.
    class Histogram < Family
      attr_reader :buckets

      def initialize(own, name, help, labels, buckets: BUCKETS)
        super(own, name, help, labels)
        @buckets = buckets.map { |bound| Float(bound) }.freeze
        @shown_buckets = @buckets.join(" ").freeze
        raise ArgumentError, "#{name}: 1 to #{BUCKETS_MAX} rising buckets are needed, not #{buckets.inspect}" unless
          @buckets.size.between?(1, BUCKETS_MAX) && @buckets.all?(&:finite?) && @buckets == @buckets.sort.uniq
      end

      def kind = "h"

      def same?(kind, labels, buckets: BUCKETS) = super && @buckets == buckets.map { |bound| Float(bound) }

      def observe(value, **labels)
        value = finite(value)
        at = @buckets.bsearch_index { |bound| value <= bound } || @buckets.size
        change(labels) do |sum, *counts|
          counts[at] += 1
          [sum + value, *counts]
        end
        value
      end

      # Seconds that the block takes, whatever becomes of it.
      def time(**labels)
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        yield
      ensure
        observe(Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun, **labels) if begun
      end

      private

      def zero = Array.new(@buckets.size + 2, 0)
      def shown(value) = "#{value.first}\t#{@shown_buckets}\t#{value.drop(1).join(" ")}"
      def room = @shown_buckets.size + (@buckets.size + 2) * NUMBER_ROOM

      def earlier(fields)
        return zero unless fields[1] == @shown_buckets

        [Own.number(fields[0]), *fields[2].split(" ").map { |n| Own.number(n) }]
      end
    end

    # All families of this process, and how they reach the scrape.
    class Own
      INTERVAL = 1 # seconds between two texts

      def self.number(text) = Integer(text, exception: false) || Float(text)

      def initialize
        @lock = Mutex.new
        @wake = ConditionVariable.new
        @families = {}
        @before = {} # [kind, family, labels] => the rest of the line, of an earlier worker of this place
        @heads = {} # the same for helps
        @bytes = 0
        @dropped = 0
        @begun = @changed = false
        @publisher = nil
      end

      def family(kind, name, help, labels, **how)
        name = checked_name(name)
        labels = labels.map { |label| checked_label(name, label) }
        raise ArgumentError, "#{name}: a label stands twice in #{labels.inspect}" if labels.uniq!
        @lock.synchronize do
          if (known = @families[name])
            raise ArgumentError, "#{name} is there already, as something else" unless known.same?(kind, labels, **how)

            next known
          end
          raise ArgumentError, "#{name}: there are #{FAMILIES_MAX} metrics already" if @families.size >= FAMILIES_MAX

          add(kind.new(self, name, checked_help(help), labels, **how))
        end
      end

      # The block changes values.
      def change
        @lock.synchronize do
          yield
          next if @changed

          @changed = true
          @begun && wake
        end
      end

      # With the lock, from within change: is there room for one more line? It is taken.
      def room?(name, labels, len)
        len += name.size + labels.bytesize + 4
        return false if @bytes + len > Internal::OWN_METRICS_ROOM

        @bytes += len
        true
      end

      def drop = @dropped += 1

      def take(*line)
        rest = @before.delete(line) or return
        @bytes -= line.sum(&:bytesize) + rest.sum(&:bytesize) + 6
        rest
      end

      # A worker's: after the fork, before its hooks. @text: of the last worker in its place.
      def begin(text)
        @lock.synchronize do
          @families.each_value(&:forget)
          @dropped = 0
          next unless text

          text.each_line(chomp: true) { |line| read(line) }
          @begun = true
          @changed = true unless text.empty? && @families.empty?
          wake if @changed
        end
      end

      # Now.
      def publish
        text, dropped = @lock.synchronize do
          return unless @begun

          @changed = false
          [written, @dropped].tap { @dropped = 0 }
        end
        # A process that the app has forked is no worker: nobody reads its numbers.
        Internal.publish_own_metrics(text, dropped) || (@begun = false)
      end

      private

      def add(family)
        @bytes -= @heads.delete(family.name).to_s.bytesize
        if @bytes + family.head.bytesize <= Internal::OWN_METRICS_ROOM
          @heads[family.name] = family.head
          @bytes += family.head.bytesize
        end
        @families[family.name] = family
      end

      def read(line)
        kind, name, *rest = line.split("\t", -1)
        return if kind == "g"

        @bytes += line.bytesize + 1
        return @heads.key?(name) ? @bytes -= line.bytesize + 1 : @heads[name] = "#{line}\n" if kind == "#"

        @before[[kind, name, rest.shift]] = rest
      end

      def written
        text = +""
        @heads.each_value { |head| text << head }
        @families.each_value { |family| family.write(text) }
        @before.each { |line, rest| text << [*line, *rest].join("\t") << "\n" }
        text
      end

      # A thread of the process that forked is not in this one.
      def wake
        return @wake.signal if @publisher&.alive?

        @publisher = Thread.new { keep_publishing }
        @publisher.name = "hyperion metrics"
        @publisher.report_on_exception = true
      end

      def keep_publishing
        loop do
          @lock.synchronize { @wake.wait(@lock) until @changed }
          break unless publish

          sleep INTERVAL
        end
      end

      def checked_name(name)
        name = name.to_s
        raise ArgumentError, "#{name.inspect} is no name of a metric: letters, digits, _ and :" unless name.match?(NAME)
        raise ArgumentError, "#{name}: names of hyperion_ and process_ are the server's" if name.match?(OURS)

        name = name.delete_suffix("_total")
        raise ArgumentError, "#{name}: a metric's name does not end with #{name[SUFFIX]}" if name.match?(SUFFIX)
        raise ArgumentError, "#{name[0, 40]}...: a name has 100 characters at most" if name.size > 100

        name.freeze
      end

      def checked_label(name, label)
        text = label.to_s
        raise ArgumentError, "#{name}: #{text.inspect} is no name of a label" unless text.match?(LABEL)
        raise ArgumentError, "#{name}: the label #{text} is the server's" if TAKEN_LABELS.include?(text)

        text.to_sym
      end

      # One line, and nothing to escape.
      def checked_help(help)
        help.to_s.scrub.gsub(/[[:cntrl:]]/, " ").tr("\\\"", "/'")[0, HELP_MAX]
      end
    end

    @own = Own.new

    class << self
      attr_reader :own

      # A name that is there already gives the one that is there.
      def counter(name, help = "", labels: []) = own.family(Counter, name, help, labels)
      def gauge(name, help = "", labels: []) = own.family(Gauge, name, help, labels)

      def histogram(name, help = "", labels: [], buckets: BUCKETS)
        own.family(Histogram, name, help, labels, buckets: buckets)
      end
    end
  end
end
