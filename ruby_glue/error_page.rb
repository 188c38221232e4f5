# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An exception as a page, for the eyes of a developer. What is on it comes from the app and from the
# client: everything is escaped.

module Hyperion
  module Internal
    class ErrorPage
      AROUND = 6 # lines of source before and behind
      LINES_MAX = 200 # of a backtrace
      CAUSES_MAX = 4
      TEXT_MAX = 8192 # of a message, bytes
      SOURCE_MAX = 1 << 20 # bytes; who has longer files sees no excerpt
      FOREIGN = %r{/(?:vendor|\.bundle|gems|node_modules)/}

      STYLE = <<~CSS
        :root { color-scheme: light dark }
        body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
        h1 { font-size: 1.3em; margin-bottom: 0 }
        pre { font: 13px/1.5 ui-monospace, monospace; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
        pre.source { border-left: 3px solid #c33; padding: .5em 1em; background: #8881 }
        .hit { color: #c33; font-weight: bold } .app { font-weight: bold } .foreign { opacity: .6 }
        footer { opacity: .6; font-size: .85em }
      CSS

      ESCAPES = { "&" => "&amp;", "<" => "&lt;", ">" => "&gt;", '"' => "&quot;", "'" => "&#39;" }.freeze

      # [content type, text].
      def self.render(env, error, root)
        page = new(env, error, root)
        page.html? ? ["text/html; charset=utf-8", page.html] : ["text/plain; charset=utf-8", page.text]
      end

      def initialize(env, error, root)
        @env = env
        @error = error
        @root = root
      end

      # A browser says so; curl and API clients say */*, or what they want instead.
      def html?
        @env["HTTP_ACCEPT"].to_s.split(",").any? do |range|
          type, *parameters = range.split(";").map(&:strip)
          %w[text/html application/xhtml+xml].include?(type&.downcase) && parameters.none? { |p| p.match?(/\Aq=0(?:\.0*)?\z/i) }
        end
      end

      def html
        [
          "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>#{escape(@error.class)}</title>",
          "<style>\n#{STYLE}</style></head><body>", *sections, "<footer>#{escape(footer)}</footer></body></html>\n",
        ].join("\n")
      end

      def text
        parts = errors.flat_map do |error|
          [heading(error), "", *source(error), *trace(error).map { |line| "#{app?(line) ? "*" : " "} #{line}" }, ""]
        end
        [request_line, "", *parts, footer].join("\n") << "\n"
      end

      private

      def sections
        ["<p><code>#{escape(request_line)}</code></p>"] + errors.flat_map { |error| section(error) }
      end

      def section(error)
        title, message = heading(error).split(": ", 2)
        lines = trace(error).map { |line| "<span class=\"#{app?(line) ? "app" : "foreign"}\">#{escape(line)}</span>" }
        excerpt = source(error).map { |line| line.start_with?(">") ? "<span class=\"hit\">#{escape(line)}</span>" : escape(line) }
        ["<h1>#{escape(title)}</h1>", "<pre>#{escape(message)}</pre>",
         *("<pre class=\"source\">#{excerpt.join("\n")}</pre>" unless excerpt.empty?), "<pre>#{lines.join("\n")}</pre>"]
      end

      # The error, then what it was caused by.
      def errors
        @errors ||= [@error].tap do |all|
          while all.size <= CAUSES_MAX && (cause = all.last.cause) && all.none? { |e| e.equal?(cause) }
            all << cause
          end
        end
      end

      def heading(error)
        "#{"caused by " unless error.equal?(@error)}#{error.class}: #{clean(error.message.to_s.byteslice(0, TEXT_MAX))}"
      end

      def request_line
        query = @env["QUERY_STRING"].to_s
        clean("#{@env["REQUEST_METHOD"]} #{@env["SCRIPT_NAME"]}#{@env["PATH_INFO"]}#{"?#{query}" unless query.empty?} #{@env["SERVER_PROTOCOL"]}")
      end

      def footer
        "hyperion-bpf #{VERSION}, Ruby #{RUBY_VERSION}, environment development: elsewhere this is a plain 500"
      end

      # Without ours. A line of the app's own is told by its place.
      def trace(error)
        lines = (error.backtrace || []).reject { |line| line.start_with?(OURS) }
        shown = lines.first(LINES_MAX).map { |line| clean(line) }
        lines.size > LINES_MAX ? shown << "... and #{lines.size - LINES_MAX} more" : shown
      end

      def app?(line)
        line.start_with?("#{@root}/") && !line.delete_prefix(@root).match?(FOREIGN)
      end

      # Around the app's first line, which has a mark.
      def source(error)
        file, number = trace(error).find { |line| app?(line) }&.match(/\A(.+?):(\d+)/)&.captures
        return [] unless file && File.file?(file) && File.size(file) <= SOURCE_MAX

        lines = File.read(file, encoding: Encoding::UTF_8).scrub.lines(chomp: true)
        hit = number.to_i
        from = [hit - AROUND, 1].max
        shown = (from..[hit + AROUND, lines.size].min).map { |n| format("%s %4d  %s", n == hit ? ">" : " ", n, lines[n - 1]) }
        ["#{file}:#{hit}", *shown, ""]
      rescue SystemCallError
        []
      end

      # UTF-8, whatever it was; of control characters only the ends of lines.
      def clean(text)
        text = text.dup.force_encoding(Encoding::UTF_8) unless text.encoding == Encoding::UTF_8
        text.scrub.gsub(/[^\P{Cntrl}\n\t]/) { |c| format("\\x%02x", c.ord) }
      end

      def escape(text)
        text.to_s.gsub(/[&<>"']/, ESCAPES)
      end
    end

    def self.error_page(env, error)
      ErrorPage.render(env, error, @root)
    end
  end
end
