# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What the server lends to Ruby code: log, numbers, clock, and observers of its requests. The server
# asks Runtime.default; others are their owners' business, who call fire_... themselves.

module Hyperion
  class Runtime
    # A block that is told of requests. What it raises is logged, once in a second at most.
    class Observer
      def initialize(event, block)
        @event = event
        @block = block
        @second = nil
        @left_out = 0
      end

      # Whatever it raises ends here, also what asks for the end of the process: a request is under way.
      def call(runtime, ...)
        @block.call(...)
      rescue Exception => e # rubocop:disable Lint/RescueException
        failed(runtime, e)
      end

      private

      def failed(runtime, error)
        second = Process.clock_gettime(Process::CLOCK_MONOTONIC, :second)
        return @left_out += 1 if second == @second

        more = @left_out.zero? ? "" : " suppressed=#{@left_out}"
        @second = second
        @left_out = 0
        say(runtime, "an observer of #{@event} raised #{error.class}: #{error.message} " \
                     "observer=#{@block.source_location&.join(":")} at=#{error.backtrace&.first}#{more}")
      end

      def say(runtime, line)
        runtime.logger.error(line)
      rescue Exception # rubocop:disable Lint/RescueException
        Internal.log(Logger::LEVELS.index(:error), "app: #{line}")
      end
    end

    class << self
      # The one that the server uses.
      def default
        @default ||= new
      end

      def default=(runtime)
        raise ArgumentError, "a #{self} is needed, not #{runtime.inspect}" unless runtime.is_a?(self)

        @default = runtime
        runtime.send(:tell_server)
      end

      def reset_default!
        self.default = new
      end
    end

    attr_accessor :metrics, :logger
    attr_reader :clock

    # @clock answers clock_gettime, as Process does.
    def initialize(metrics: nil, logger: nil, clock: Process)
      @metrics = metrics || Metrics.new
      @logger = logger || Logger.new
      @clock = clock
      @starts = @ends = [].freeze
    end

    # |request, env|, before the app is called. env is nil for a direct handler.
    def on_request_start(&block)
      @starts = added(@starts, :on_request_start, block)
      tell_server
      block
    end

    # |request, env, response, error|, when the app has returned or raised and its body was given over.
    # response: [status, headers, body], nil if the app raised; error: what the app or its body raised.
    def on_request_end(&block)
      @ends = added(@ends, :on_request_end, block)
      tell_server
      block
    end

    def has_request_hooks? # rubocop:disable Naming/PredicateName
      !(@starts.empty? && @ends.empty?)
    end

    def fire_request_start(request, env)
      @starts.each { |observer| observer.call(self, request, env) }
      nil
    end

    def fire_request_end(request, env, response, error)
      @ends.each { |observer| observer.call(self, request, env, response, error) }
      nil
    end

    private

    # A list that is walked right now stays as it is.
    def added(list, event, block)
      raise ArgumentError, "#{event} takes a block" unless block

      [*list, Observer.new(event, block)].freeze
    end

    def tell_server
      Internal.watch_requests(has_request_hooks?) if equal?(Runtime.default)
    end
  end

  class << self
    def metrics = Runtime.default.metrics
    def logger = Runtime.default.logger

    def metrics=(metrics)
      Runtime.default.metrics = metrics
    end

    def logger=(logger)
      Runtime.default.logger = logger
    end
  end

  module Internal
    class << self
      def request_started(env)
        request = Request.of(env)
        Runtime.default.fire_request_start(request, env)
        request
      end

      def request_ended(request, env, response, error)
        Runtime.default.fire_request_end(request, env, response, error)
      end
    end
  end
end
