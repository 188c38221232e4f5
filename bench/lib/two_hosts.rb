# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'
require 'socket'

module Lab
  # Server and load on machines of their own: `serve` runs a peer and tells whoever connects what it has cost so far; `load` measures
  # it from the other side.
  module TwoHosts
    class << self
      def serve(peer, kase, build:, cpu:, host:)
        absence = peer.program(build) ? peer.reason_against(kase) || Resource.absence(kase.resource, build) : peer.absence
        raise UsageError, "#{peer.name}: #{absence}" if absence

        server = Server.new(peer, build: build, cpu: cpu, resource: kase.resource, tls: kase.tls? ? Certs.pair : nil,
                                  workers: kase.workers, host: host)
        answer = server.check(kase)
        kase.before&.call(server)
        control = TCPServer.new(host, 0)
        puts "on the other host: bench/lab load #{kase.name} #{host}:#{server.port} #{host}:#{control.addr[1]}"
        $stdout.flush
        loop { tell(control.accept, server, peer, kase, answer) }
      rescue Server::Failed => e
        raise UsageError, "#{peer.name}: #{e.message}"
      end

      # One measurement as a hash, like a round of a report.
      def load(kase, address, control, build:, cpu:, seconds:)
        target = Target.new(*address.split(':'))
        before = ask(control)
        settings = { load_cpu: cpu, build: build }
        Load.run(kase, target, before['path'], settings, seconds: Runner::WARMUP_S, answer: before['answer'], each: true)
        before = ask(control)
        figures = Load.run(kase, target, before['path'], settings, seconds: seconds, answer: before['answer'])
        after = ask(control)
        source, used = ProcessTree.used(*[before, after].map { |t| ProcessTree::Cpu.new(t['exact_ns'], t['tick_ns']) })
        row = Row.new(kase, nil)
        row.add(0, figures, used, source, used, after['rss_bytes'])
        { 'case' => kase.name, 'peer' => before['peer'], **row.rounds[0] }
      rescue Server::Failed, SystemCallError => e
        raise UsageError, e.message
      end

      private

      Target = Struct.new(:host, :port)

      def tell(sock, server, peer, kase, answer)
        cpu = server.tree.cpu
        sock.puts(JSON.generate('peer' => peer.name, 'path' => peer.paths.fetch(kase.resource), 'answer' => answer, 'exact_ns' => cpu.exact_ns,
                                'tick_ns' => cpu.tick_ns, 'rss_bytes' => server.tree.resident_bytes))
      rescue SystemCallError
        nil
      ensure
        sock.close
      end

      def ask(control)
        host, port = control.split(':')
        Socket.tcp(host, port, connect_timeout: 5) do |sock|
          raise Server::Failed, "#{control} says nothing" unless sock.wait_readable(5)

          JSON.parse(sock.gets.to_s)
        end
      rescue JSON::ParserError
        raise Server::Failed, "#{control} is not `bench/lab serve`"
      end
    end
  end
end
