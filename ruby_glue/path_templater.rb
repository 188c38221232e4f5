# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Paths as names of routes, by rules of one's own before those of the server.

module Hyperion
  class Metrics
    # @rules: patterns and what to put in their place, in order; the first that matches counts. What then
    # still looks like a value (numbers, UUIDs, long tokens) is named by the server's own rules, and so is
    # a path that none matches: those who try paths are not to fill the table of names.
    class PathTemplater
      SIZE = 1000 # paths remembered, those that were asked for last

      def initialize(rules = {})
        @rules = rules.map { |pattern, name| [check(pattern, Regexp), check(name, String)] }.freeze
        @known = {}
      end

      # nil: no rule matches.
      def template(path)
        name = @known.key?(path) ? @known.delete(path) : name_of(path)
        @known.shift if @known.size >= SIZE
        @known[path] = name
      end

      private

      def check(value, kind)
        return value if value.is_a?(kind)

        raise ArgumentError, "path_templater: a rule is a Regexp and a String, not #{value.inspect}"
      end

      def name_of(path)
        pattern, name = @rules.find { |rule, _| rule.match?(path) }
        pattern && Internal.template(path.sub(pattern, name))
      end
    end
  end

  module Internal
    class << self
      # Answers `template`, or nil: the server's own rules alone, which cost Ruby nothing.
      attr_reader :path_templater

      # Rules, or an object of one's own that answers template or call; the text of what is wrong, or nil.
      def use_path_templater(given)
        @path_templater = case given
                          when Hash, Array then Metrics::PathTemplater.new(given)
                          else given.respond_to?(:template) ? given : calling(given)
                          end
        "rules { /pattern/ => \"/name\" }, or an object that answers template(path) or call(path)" unless @path_templater
      rescue ArgumentError => e
        e.message
      end

      private

      def calling(given)
        return unless given.respond_to?(:call)

        Object.new.tap { |o| o.define_singleton_method(:template) { |path| given.call(path) } }
      end
    end
  end
end
