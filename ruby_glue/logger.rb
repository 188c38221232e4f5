# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The server's error log for Ruby code: one line per message, whatever is in it.

module Hyperion
  class Logger
    LEVELS = %i[debug info warn error].freeze # as in server/log.h

    # A text, a Hash (its :message comes first, the rest as key=value), or a block that gives either
    # and is called only when the line is written.
    LEVELS.each_with_index do |name, number|
      define_method(name) do |message = nil, &block|
        Internal.log(number, "app: #{text(block ? block.call : message)}") if number >= Internal.log_level
        true
      end

      define_method(:"#{name}?") { number >= Internal.log_level }
    end

    def level
      LEVELS[Internal.log_level]
    end

    private

    def text(message)
      return message.to_s unless message.is_a?(Hash)

      rest = message.reject { |key, _| key == :message }.map { |key, value| "#{key}=#{word(value)}" }
      [message[:message], *rest].compact.join(" ")
    end

    def word(value)
      text = value.is_a?(Exception) ? "#{value.class}: #{value.message}" : value.to_s
      text.empty? || text.match?(/[\s"=]/) ? text.inspect : text
    end
  end
end
