# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The cache of files in front of the app: what trees serve, and what bodies name by to_path. It holds
# files only; what the app has made, with headers of its own, is never in it.

module Hyperion
  module Http
    module PageCache
      class << self
        # Every file below @dir; how many.
        def preload(dir, immutable: false)
          Internal.cache_preload(File.expand_path(dir), immutable)
        end

        # Its bytes, or :missing.
        def cache_file(path)
          path = File.expand_path(path)
          return :missing unless File.file?(path)

          Internal.cache_file(path, File.size(path)) || :missing
        rescue SystemCallError
          :missing
        end

        # :ok, :stale (it had changed and was read again) or :missing.
        def fetch(path)
          Internal.cache_look(File.expand_path(path))
        end

        # It is not looked at again. False: it is not in the cache.
        def mark_immutable(path)
          set_immutable(path, true)
        end

        def mark_mutable(path)
          set_immutable(path, false)
        end

        def set_immutable(path, immutable) # rubocop:disable Naming/AccessorMethodName
          Internal.cache_mark(File.expand_path(path), immutable)
        end

        def size
          Internal.cache_size
        end

        def clear
          Internal.cache_clear
        end

        # How long a file is believed to be as it was.
        def recheck_seconds
          Internal.cache_recheck(nil) / 1000.0
        end

        def recheck_seconds=(seconds)
          raise ArgumentError, "recheck_seconds #{seconds.inspect}: seconds, from 0 to 86400" unless seconds.is_a?(Numeric) && (0..86_400).cover?(seconds)

          Internal.cache_recheck((seconds * 1000).to_i)
        end

        def available?
          true
        end
      end
    end
  end
end
