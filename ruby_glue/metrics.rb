# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Named numbers of this process, for the app and for observers. Any thread.

module Hyperion
  class Metrics
    # What was observed under one name.
    Summary = Struct.new(:count, :sum, :min, :max) do
      def add(value)
        self.count += 1
        self.sum += value
        self.min = value if min.nil? || value < min
        self.max = value if max.nil? || value > max
      end
    end

    def initialize
      @lock = Mutex.new
      @counters = Hash.new(0)
      @observed = {}
    end

    def increment(name, by = 1)
      @lock.synchronize { @counters[name] += by }
    end

    def decrement(name, by = 1)
      increment(name, -by)
    end

    # A measured value: how many there were, their sum, the least and the greatest are kept.
    def observe(name, value)
      @lock.synchronize { (@observed[name] ||= Summary.new(0, 0, nil, nil)).add(value) }
      value
    end

    # name => number, or name => { count:, sum:, min:, max: }; a copy.
    def snapshot
      @lock.synchronize { @counters.dup.tap { |all| all.default = nil }.merge(@observed.transform_values(&:to_h)) }
    end
  end
end
