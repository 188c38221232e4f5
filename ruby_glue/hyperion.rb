# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The Ruby side of the server, compiled into the program. Internal is what C calls; nothing in it is
# for apps. An exception that leaves a method here is printed by C through `report`.

module Hyperion
  module Internal
    # Lines of ours in a backtrace help nobody.
    OURS = "<internal:hyperion>"

    @hooks = { before_fork: [], on_worker_boot: [], on_worker_shutdown: [] }

    class << self
      attr_reader :hooks

      def boot(rackup)
        # What an app prints is read now, and not once more by each worker that inherits a buffer.
        $stdout.sync = $stderr.sync = true
        use_gemfile(rackup)
        Process.singleton_class.prepend(ForkHook)
      end

      # Rack 2 answers [app, options], Rack 3 the app.
      def load_app(rackup, environment)
        ENV["RACK_ENV"] = environment
        @root = File.dirname(File.expand_path(rackup))
        use_gemfile(rackup)
        require_rack
        result = Rack::Builder.parse_file(File.expand_path(rackup))
        app = result.is_a?(Array) ? result.first : result
        raise ArgumentError, "#{rackup}: the app has no method call: #{app.inspect}", [] unless app.respond_to?(:call)

        environment == "development" && !rails? ? Rack::Lint.new(app) : app
      end

      # What is garbage now must not be copied into every worker by its first collection.
      def before_fork
        run_hooks(:before_fork)
        Process.respond_to?(:warmup) ? Process.warmup : GC.start
      end

      # True in the worker, false in the mold. The process in between ends at once, and without its
      # at_exit handlers: its orphan, the worker, goes to the supervisor.
      def fork_worker
        mold = Process.pid
        if (between = Process.fork)
          await(between)
          return false
        end
        Process.exit!(true) if Process.fork
        true
      rescue Exception => e # rubocop:disable Lint/RescueException
        raise if Process.pid == mold

        report(e)
        Process.exit!(false)
      end

      def worker_boot(index)
        Metrics.own.begin(own_metrics)
        run_hooks(:on_worker_boot, index)
      end

      # One that fails does not keep the others from running.
      def worker_shutdown(index)
        errors = hooks[:on_worker_shutdown].filter_map do |hook|
          hook.call(index)
          nil
        rescue StandardError, ScriptError => e
          e
        end
        Metrics.own.publish
        errors.drop(1).each { |e| report(e) }
        raise errors.first unless errors.empty?
      end

      def report(error)
        return report_exit(error) if error.is_a?(SystemExit)

        # About something outside of any code.
        return STDERR.puts("hyperion-bpf: #{error.message} (#{error.class})") if error.backtrace&.empty?

        lines = error.full_message(order: :top).lines
        STDERR.write(lines.reject { |line| line.start_with?("\tfrom #{OURS}") }.join.chomp, "\n")
      end

      private

      def run_hooks(name, *args)
        hooks[name].each { |hook| hook.call(*args) }
      end

      # As if `bundle exec` had been said. There it has happened already, and nothing happens here.
      def use_gemfile(rackup)
        ENV.delete("BUNDLE_GEMFILE") if ENV["BUNDLE_GEMFILE"]&.empty?
        folder = File.dirname(File.expand_path(rackup))
        ENV["BUNDLE_GEMFILE"] ||= %w[gems.rb Gemfile].map { |name| File.join(folder, name) }.find { |f| File.file?(f) }
        return unless ENV["BUNDLE_GEMFILE"]

        require_bundler
        shun_gem("hyperion-rb")
        shun_gem("hyperion")
      end

      def require_bundler
        require "bundler/setup"
      rescue LoadError => e
        raise unless e.path == "bundler/setup"

        raise LoadError, "#{ENV["BUNDLE_GEMFILE"]} is there, but Bundler is not: install it (gem install bundler)", []
      end

      def require_rack
        require "rack"
      rescue LoadError => e
        raise unless e.path == "rack"

        where = ENV["BUNDLE_GEMFILE"] ? "add it to #{ENV["BUNDLE_GEMFILE"]}" : "install it (gem install rack)"
        raise LoadError, "the gem rack is missing: #{where}", []
      end

      # `require "hyperion"` is answered by this program; nothing of the gem may get in between.
      def shun_gem(name)
        spec = Gem.loaded_specs[name] if defined?(Gem)
        return unless spec && $LOAD_PATH.reject! { |folder| spec.full_require_paths.include?(folder.to_s) }

        warn("ruby: the gem #{name} is not used: require \"hyperion\" gives the module of this server gem=#{spec.full_name}")
      end

      # Its own server leaves Lint out: Rails' streams are not all as the SPEC wants them, for which no
      # app can be blamed.
      def rails?
        defined?(::Rails.application) && ::Rails.application
      end

      def await(pid)
        _, status = Process.wait2(pid)
        raise RuntimeError, "no worker: the process in between ended with #{status.exitstatus || status}", [] unless status.success?
      rescue Errno::ECHILD
        nil # a thread of the app waits for any child, and was first
      end

      def report_exit(error)
        at = (error.backtrace || []).find { |line| !line.start_with?(OURS, "<internal:") }
        STDERR.puts("hyperion-bpf: exit(#{error.status}) was called#{at && " at #{at}"}")
      end
    end

    # Under every fork of Ruby's: Process.fork, Kernel#fork, IO.popen("-").
    module ForkHook
      def _fork
        pid = super
        Internal.forked if pid.zero?
        pid
      end
    end
  end
end
