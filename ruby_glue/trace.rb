# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What the threads of a worker are at, for who asks over the control socket.

module Hyperion
  module Internal
    TRACED_FRAMES = 200 # of one thread

    class << self
      # Lines: "t", status and name of a thread, tabs between them; "f", a tab and a frame of it.
      def traces
        (Thread.list - [Thread.current]).flat_map { |thread| trace(thread) }.join("\n").b
      end

      private

      def trace(thread)
        status = thread.status || "ended"
        name = thread == Thread.main ? "main" : thread.name || "without a name"
        frames = thread.backtrace(0, TRACED_FRAMES) || []
        ["t\t#{status}\t#{plain(name)}", *frames.map { |frame| "f\t#{plain(frame)}" }]
      end

      def plain(text)
        text.to_s.b.gsub(/[^ -~]/n, "?")
      end
    end
  end
end
