# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The config file's language. Settings go to C as text (Internal.set), which knows what is allowed;
# here is known what may be written, and where.

module Hyperion
  module Internal
    # What a bareword may be, at the top of the file or within one block.
    class Scope
      # Every name that can be written, for "the nearest is".
      KNOWN = {} # rubocop:disable Style/MutableConstant

      # @place: the block that it belongs into.
      def self.define(name, place = nil, &body)
        KNOWN[[place, name].compact.join("_")] = place ? "#{name} in `#{place} do`" : name.to_s
        define_method(name, &body)
      end

      def initialize(config)
        @config = config
      end

      private

      def method_missing(name, *)
        @config.refuse("unknown setting #{name}: the nearest is #{nearest(name)}")
      end

      def respond_to_missing?(*)
        false
      end

      def nearest(name)
        require "did_you_mean"
        text = name.to_s.chomp("=")
        # With the block's name before it, or as it is written in the block.
        KNOWN.min_by { |known, shown| [known, shown[/\A\w+/]].map { |name| DidYouMean::Levenshtein.distance(text, name) }.min }.last
      end
    end

    class TopLevel < Scope
      # Name in the file => name for C.
      PLAIN = %i[
        workers threads environment rackup preload pidfile io_uring max_header_bytes max_body_bytes max_pending
        max_connections max_request_read_seconds read_timeout idle_keepalive graceful_timeout
        static_recheck tcp_congestion max_in_flight_per_conn max_request_seconds rebalance observe control_group
      ].to_h { |name| [name, name.to_s] }.merge(thread_count: "threads").freeze

      ADMIN = { token: "admin_token", token_file: "admin_token_file", listener_port: "admin_listener_port",
                listener_host: "admin_listener_host" }.freeze
      LOGGING = { level: "log_level", format: "log_format", requests: "log_requests", file: "log_file",
                  error_file: "error_log", request_id: "request_id" }.freeze

      GUARD = { mode: "guard-mode", syn_rate: "guard-syn-rate", syn_burst: "guard-syn-burst",
                syn_prefix_v4: "guard-syn-prefix-v4", syn_prefix_v6: "guard-syn-prefix-v6" }.freeze

      # Settings of the gem that have no meaning in this server.
      MEANINGLESS = {
        accept_fibers_per_worker: "connections are not accepted by Ruby",
        fiber_local_shim: "Ruby itself has fiber-local storage",
        io_uring_hotpath: "io_uring is used for everything or not at all, see io_uring",
      }.freeze

      # What this version does not have yet. Without these it serves all the same...
      LATER = %i[async_io yjit].freeze
      LATER_BLOCKS = {
        h2: %i[max_concurrent_streams initial_window_size max_frame_size max_header_list_size max_total_streams],
        websocket: %i[permessage_deflate origin_allow_list max_message_bytes],
        worker_health: %i[max_rss_mb check_interval timeout],
      }.freeze
      # ...without these it would send in clear what was meant to be secret.
      REFUSED = %i[tls tls_cert tls_key tls_cert_path tls_key_path].freeze

      # Barewords in the block, or `|b| b.name value`.
      def self.block(place, &names)
        scope = Class.new(Scope, &names)
        define(place) do |*args, &body|
          @config.refuse("#{place} takes a block: #{place} do ... end") if body.nil? || !args.empty?
          inside = scope.new(@config)
          body.arity.zero? ? inside.instance_exec(&body) : body.call(inside)
          nil
        end
      end

      PLAIN.each { |name, key| define(name) { |*values| @config.put(name, key, values) } }

      LATER.each { |name| define(name) { |*, **| @config.later(name) } }

      MEANINGLESS.each { |name, why| define(name) { |*| @config.note("#{name} has no effect here: #{why}") } }

      REFUSED.each do |name|
        define(name) { |*| @config.refuse("#{name}: this version has no TLS yet and would serve in clear") }
      end

      %i[user group].each do |name|
        define(name) { |*| @config.refuse("#{name} belongs on the command line, --#{name}: Ruby runs as that user already") }
      end

      Internal.hooks.each_key do |name|
        define(name) { |*args, &body| @config.hook(name, args, body) }
      end

      block(:admin) do
        ADMIN.each { |name, key| define(name, :admin) { |*values| @config.put(name, key, values) } }
      end

      block(:guard) do
        GUARD.each { |name, key| define(name, :guard) { |*values| @config.put(name, key, values) } }
        %i[attach deny allow].each do |name|
          key = name == :attach ? "attach" : "guard-#{name}"
          define(name, :guard) { |*values| values.flatten.each { |value| @config.put(name, key, [value]) } }
        end
      end

      block(:logging) do
        LOGGING.each { |name, key| define(name, :logging) { |*values| @config.put(name, key, values) } }
      end

      LATER_BLOCKS.each do |place, names|
        block(place) do
          names.each { |name| define(name, place) { |*| @config.later(place) } }
        end
      end

      block(:metrics) do
        define(:path_templater, :metrics) { |*values| @config.path_templater(values) }
        define(:enabled, :metrics) { |*| @config.note("enabled in `metrics do` has no effect here: counting costs nothing that could be saved") }
      end

      define(:static) { |*prefix, **how| @config.static(prefix, how) }
      define(:preload_static) { |*dir, **how| @config.preload_static(dir, how) }
      define(:auto_preload_static_disabled) { |*values| @config.put(:auto_preload_static_disabled, "no-preload-static", values) }
      define(:sendfile_root) { |*dirs| dirs.flatten.each { |dir| @config.put(:sendfile_root, "sendfile-root", [dir.to_s]) } }
      define(:bind) { |*values| @config.bind(values.flatten) }
      define(:host) { |*values| @config.address(:host, values) }
      define(:port) { |*values| @config.address(:port, values) }
    end

    # One reading of one file.
    class Config
      def initialize(file)
        @file = file
        @noted = {}
        @written = {}
        @address = {}
      end

      def read
        scope = TopLevel.new(self).instance_eval { binding }
        scope.eval(text, @file, 1)
        check_variables(scope.local_variables)
        put_address
      end

      def put(name, key, values, place = here)
        value = one(name, values)
        @written[name] = true
        allowed = Internal.set(key, value)
        refuse("#{name} #{values.first.inspect}: #{allowed}", place) if allowed
      end

      def hook(name, args, body)
        refuse("#{name} takes a block") if body.nil? || !args.empty?
        Internal.hooks[name] << body
        nil
      end

      # An address, or several; without a scheme it is what the gem calls host.
      def bind(values)
        refuse("bind needs an address") if values.empty?
        values.each { |value| value.to_s.include?("://") ? put(:bind, "bind", [value]) : address(:host, [value]) }
        nil
      end

      # A tree of files: static "/assets", from: "public/assets", immutable: true; or internal: true
      def static(prefix, how)
        unknown = how.keys - %i[from immutable internal]
        refuse("static: unknown #{unknown.first}: allowed are from, immutable and internal") unless unknown.empty?
        refuse("static #{prefix.first.inspect}: needs a folder, from: DIR") unless how[:from]
        refuse("static #{prefix.first.inspect}: immutable or internal, not both") if how[:immutable] && how[:internal]
        key = how[:internal] ? "static-internal" : how[:immutable] ? "static-immutable" : "static" # rubocop:disable Style/NestedTernaryOperator
        put(:static, key, ["#{one(:static, prefix)}=#{one(:from, [how[:from].to_s])}"])
        nil
      end

      # Files that are read before serving: preload_static "public/assets", immutable: true
      def preload_static(dir, how)
        unknown = how.keys - %i[immutable]
        refuse("preload_static: unknown #{unknown.first}: allowed is immutable") unless unknown.empty?
        key = how.fetch(:immutable, true) ? "preload-static" : "preload-static-mutable"
        put(:preload_static, key, [one(:preload_static, dir.map(&:to_s))])
        nil
      end

      # host and port make one address, when the whole file is read.
      def address(name, values)
        @address[name] = one(name, values)
        @address[:place] = here
      end

      def path_templater(values)
        refuse("path_templater takes one value, not #{values.size}") unless values.size == 1
        wrong = Internal.use_path_templater(values.first)
        refuse("path_templater #{values.first.inspect}: #{wrong}") if wrong
      end

      def later(name)
        note("#{name} is not in this version yet, and ignored")
      end

      def note(message)
        return if @noted[message]

        @noted[message] = true
        Internal.warn("config: #{message} at=#{here.first.to_s[/\A.+?:\d+/]}")
      end

      # An ArgumentError at the line of the file.
      def refuse(message, place = here)
        raise ArgumentError, message, place
      end

      private

      def text
        @text ||= File.read(@file, encoding: Encoding::UTF_8)
      rescue SystemCallError => e
        refuse("cannot read the config file #{@file}: #{e.class.new.message}", [])
      end

      # The backtrace as the author of the file should see it.
      def here
        lines = caller.reject { |line| line.start_with?(OURS, "<internal:") }
        lines.take(1 + (lines.rindex { |line| line.start_with?("#{@file}:") } || 0))
      end

      def one(name, values)
        refuse("#{name} takes one value, not #{values.size}") unless values.size == 1
        case (value = values.first)
        when String, Symbol, Integer, true, false
          value.to_s.include?("\0") ? refuse("#{name} #{value.inspect}: a text without NUL") : value.to_s
        when nil then ""
        when Float then (value % 1).zero? ? value.to_i.to_s : value.to_s
        else refuse("#{name} #{value.inspect}: a number, a text, true or false")
        end
      end

      def put_address
        place = @address[:place] or return
        host = @address.fetch(:host, "0.0.0.0")
        host = "[#{host}]" if host.include?(":") && !host.start_with?("[")
        put(:bind, "bind", ["tcp://#{host}:#{@address.fetch(:port, 9292)}"], place)
      end

      # `workers = 4` is a variable of Ruby's and would set nothing.
      def check_variables(names)
        name = names.find { |n| TopLevel::PLAIN.key?(n) && !@written[n] } or return
        line = text.lines.index { |l| l.match?(/^\s*#{name}\s*=/) }
        refuse("#{name} = ... sets nothing: write #{name} without the equals sign", line ? ["#{@file}:#{line + 1}"] : [])
      end
    end

    def self.read_config(file)
      Config.new(File.expand_path(file)).read
    end
  end
end
