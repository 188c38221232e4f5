# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Routes that apps put in front of themselves. Said before the workers are forked, they are every
# worker's; said later, this one's.

module Hyperion
  module Server
    METHODS = %w[GET POST PUT DELETE HEAD PATCH OPTIONS].freeze

    class << self
      # @handler.call(request), a Hyperion::Request, answers as Rack does: [status, headers, body]. No
      # env, no middleware. GET answers HEAD too; the last one for a path counts.
      def handle(method, path, handler)
        method = checked_method(method)
        raise ArgumentError, "handler #{handler.inspect} has no method call" unless handler.respond_to?(:call)

        added(path, Internal.route_direct(method, checked_path(path), handler))
      end

      # @body, always the same: no Ruby runs for it.
      def handle_static(method, path, body, content_type: "text/plain")
        method = checked_method(method)
        raise ArgumentError, "body #{body.inspect} is no String" unless body.is_a?(String)
        raise ArgumentError, "content_type #{content_type.inspect} is no header value" unless content_type.is_a?(String) && content_type.match?(/\A[\x20-\x7e]{1,100}\z/)

        added(path, Internal.route_static(method, checked_path(path), body, content_type))
      end

      private

      def checked_method(method)
        name = method.to_s.upcase
        return name if METHODS.include?(name)

        raise ArgumentError, "method #{method.inspect}: allowed are #{METHODS.join(", ")}"
      end

      def checked_path(path)
        return path if path.is_a?(String) && path.b.match?(%r{\A/[^\x00-\x20\x7f?#]*\z}n)

        raise ArgumentError, "path #{path.inspect}: a String that starts with /, without a query or white space"
      end

      def added(path, room)
        raise ArgumentError, "path #{path.inspect}: there are too many routes" unless room
      end
    end
  end

  module Internal
    RAILS_ASSETS = %w[/assets /packs /vite /builds].freeze
    ASSETS_MAX = 8
    LINES_MAX = 400 # bytes of header lines for files

    class << self
      def direct_started(request)
        Runtime.default.fire_request_start(request, nil)
      end

      def line_of(request)
        [request.method, request.path]
      end

      # What Rails' own middleware would send, C sends. In development files change, and Rails looks
      # after them itself.
      def serve_assets(preload)
        config = rails_config or return
        public_dir = ::Rails.public_path.to_s
        return unless File.directory?(public_dir) && !tree?("") && (lines = file_lines(config))
        return unless serve_tree("", public_dir, lines)

        log(Logger::LEVELS.index(:info), "static: files of Rails are served without Ruby dir=#{public_dir}")
        asset_dirs(config, public_dir).each { |dir| cache_preload(dir, true) } if preload
      rescue StandardError => e
        warn("static: cannot tell what Rails would serve, it does so itself: #{e.class}: #{e.message}")
      end

      private

      def rails_config
        return unless defined?(::Rails) && ::Rails.respond_to?(:application) && ::Rails.application
        return if ::Rails.env.development? || ::Rails.env.test?

        config = ::Rails.application.config
        return unless config.respond_to?(:public_file_server) && config.public_file_server&.enabled
        return unless [nil, "index"].include?(config.public_file_server.index_name)

        config if config.respond_to?(:relative_url_root) ? config.relative_url_root.to_s.empty? : true
      end

      # Lines for every file, nil: there is something that only Rails can say.
      def file_lines(config)
        headers = config.public_file_server.headers || {}
        text = headers.map { |name, value| "#{name.to_s.downcase}: #{value}\r\n" }.join
        text if text.bytesize <= LINES_MAX && headers.none? { |pair| pair.any? { |word| word.to_s.match?(/[\r\n\0]/) } }
      end

      def asset_dirs(config, public_dir)
        prefixes = [(config.assets.prefix if config.respond_to?(:assets)), *RAILS_ASSETS].compact.uniq
        prefixes.map { |prefix| File.join(public_dir, prefix) }.select { |dir| File.directory?(dir) }.first(ASSETS_MAX)
      end
    end
  end
end
