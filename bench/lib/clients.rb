# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative 'generator'

module Lab
  # The generators of our own, in C: build/bench/{load,handshakes,echo}. They check each answer's status and length.
  module Clients
    class << self
      def run(name, build, arguments, cpu:, seconds:, limit: 20)
        argv = [File.join(build, 'bench', name), *arguments.map(&:to_s), '--seconds', seconds.to_s]
        out, took = Generator.collect(argv, cpu: cpu, limit: seconds + limit)
        line = out.lines.find { |l| l.start_with?('{') } or raise Server::Failed, "#{name}: #{out.lines.last.to_s.strip}"
        translate(JSON.parse(line)).merge('generator_s' => took)
      end

      private

      # An error is whatever was not the answer; they do not say of which kind.
      def translate(said)
        { 'requests' => said['requests'], 'duration_us' => (said['seconds'] * 1e6).round, 'bytes' => said['bytes'].to_i, 'connect' => 0,
          'read' => said['errors'] - said['timeouts'].to_i, 'write' => 0, 'status' => 0, 'timeout' => said['timeouts'].to_i, 'length' => 0,
          **said.slice('p50_us', 'p99_us', 'p999_us', 'max_us', 'latency', 'least', 'most', 'resumed') }
      end
    end
  end

  # Which generator a case asks for, and how.
  module Load
    LATE_S = 1 # an answer that takes longer is an error, where connections are counted
    class << self
      def absence(kase)
        case kase.load
        when :wrk then Wrk.absence
        when :h2load then H2load.absence
        end
      end

      def run(kase, server, path, settings, seconds:, answer: nil, each: false)
        cpu = settings[:load_cpu]
        url = "#{kase.tls? ? 'https' : 'http'}://#{server.host}:#{server.port}#{path}"
        case kase.load
        when :wrk then Wrk.run(kase, url, cpu: cpu, seconds: seconds, answer: answer, each: each)
        when :h2load then H2load.run(kase, url, cpu: cpu, seconds: seconds, answer: answer)
        else Clients.run(kase.load.to_s, settings[:build], arguments(kase, server, path), cpu: cpu, seconds: seconds)
        end
      end

      private

      def arguments(kase, server, path)
        list = ['--host', server.host, '--port', server.port, '--path', path, '--connections', kase.connections]
        list.push('--timeout', LATE_S) if kase.load == :load
        list.push('--rate', kase.rate) if kase.rate
        list << '--new' if kase.fresh
        list << '--resume' if kase.resumed
        kase.beside.each { |other, connections| list.push('--beside', "#{connections}:#{other}") }
        list
      end
    end
  end
end
