# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'etc'
require 'fileutils'
require 'tmpdir'

module Lab
  # A PostgreSQL of the lab's own: a cluster under build/, on a socket only, started when the first server needs it and ended with us.
  # Its work is not the server's: it runs on the load's CPU, and is not counted.
  module Postgres
    CONNECTIONS = 200
    LIMIT_S = 60

    class << self
      def absence(build)
        @build = build
        return 'PostgreSQL is not installed (bench/lab setup)' unless bin
        return nil unless Process.uid.zero? && !user

        'PostgreSQL does not run as root, and there is no user postgres'
      end

      # What libpq wants to hear.
      def start
        @start ||= begin
          create unless File.exist?(File.join(data, 'PG_VERSION'))
          @socket = Dir.mktmpdir('lab-pg-') # a socket's path is short
          FileUtils.chown(user, nil, @socket) if user
          launch
          "host=#{@socket} user=lab dbname=postgres"
        end
      end

      private

      # The newest that there is.
      def bin
        @bin ||= Dir['/usr/lib/postgresql/*/bin/initdb'].max_by { |f| f[/\d+/].to_i }&.then { |f| File.dirname(f) }
      end

      def user
        return nil unless Process.uid.zero?

        Etc.getpwnam('postgres').name
      rescue ArgumentError
        nil
      end

      def data
        File.join(@build, 'lab/postgres')
      end

      # The server refuses to be root.
      def as_user(*argv)
        user ? ['setpriv', "--reuid=#{user}", "--regid=#{Etc.getpwnam(user).gid}", '--clear-groups', *argv] : argv
      end

      def create
        FileUtils.mkdir_p(data)
        FileUtils.chown(user, nil, data) if user
        File.chmod(0o700, data)
        out = IO.popen(as_user("#{bin}/initdb", '-D', data, '-U', 'lab', '-A', 'trust', '-N', '-E', 'UTF8', '--locale=C', chdir: '/',
                                                                                                    err: %i[child out]), &:read)
        raise Server::Failed, "initdb: #{out.lines.last.to_s.strip}" unless $?.success?
      end

      def launch
        argv = as_user("#{bin}/postgres", '-D', data, '-k', @socket, '-c', 'listen_addresses=', '-c', "max_connections=#{CONNECTIONS}",
                       '-c', 'fsync=off', '-c', 'logging_collector=off')
        log = File.join(@socket, 'log')
        @pid = Process.spawn('setpriv', '--pdeathsig', 'INT', *argv, out: log, err: log, in: File::NULL, chdir: '/', pgroup: true)
        owner = Process.pid
        at_exit { stop if Process.pid == owner }
        deadline = Lab.clock + LIMIT_S
        until system("#{bin}/pg_isready", '-q', '-h', @socket, '-d', 'postgres', '-U', 'lab')
          raise Server::Failed, "PostgreSQL does not start: #{File.read(log).lines.last}" if Lab.clock > deadline || ended?

          sleep 0.1
        end
      end

      def ended?
        return false unless Process.wait(@pid, Process::WNOHANG)

        @pid = nil
        true
      end

      def stop
        if @pid
          Process.kill('INT', @pid) # ends connections, too
          Process.wait(@pid)
        end
      rescue SystemCallError
        nil
      ensure
        FileUtils.rm_rf(@socket)
      end
    end
  end
end
