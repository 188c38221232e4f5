# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative 'postgres'

module Lab
  # What some resources need besides the server: a folder with files, a database.
  module Resource
    class << self
      # Why it cannot be had here, or nil.
      def absence(resource, build)
        resource == :pg ? Postgres.absence(build) : nil
      end

      # NAME=VALUE for the server's environment; what has to run for it is started.
      def env(resource)
        case resource
        when :pg then ["LAB_PG=#{Postgres.start}"]
        when :held, *Files::PATHS.keys then ["LAB_FILES=#{Files.folder}"]
        else []
        end
      end
    end
  end
end
