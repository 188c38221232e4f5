# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative 'generator'

module Lab
  # h2load: HTTP/2, and HTTP/1.1 in an open loop, so many requests per second whatever the server does.
  module H2load
    class << self
      def absence
        'h2load is not installed (package nghttp2-client)' unless ENV['PATH'].split(':').any? { |d| File.executable?("#{d}/h2load") }
      end

      def run(kase, url, cpu:, seconds:, answer: nil)
        Dir.mktmpdir('lab-h2load-') do |dir|
          log = File.join(dir, 'log')
          out, took = Generator.collect(argv(kase, url, seconds, log), cpu: cpu, limit: seconds + 20)
          figures(out, File.exist?(log) ? File.read(log) : '', answer).merge('generator_s' => took, 'rate_asked' => kase.rate)
        end
      end

      # What h2load has printed, with its log of single requests: start in us, status, duration in us.
      def figures(out, log, answer)
        requests = out.match(/(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/)
        raise Server::Failed, "h2load: #{out.lines.last.to_s.strip}" unless requests

        done, good, = requests.captures.map(&:to_i)
        seconds = out[/finished in ([\d.]+m?s)/, 1].then { |t| t.end_with?('ms') ? t.to_f / 1e3 : t.to_f }
        times = log.each_line.filter_map { |l| l.split("\t").then { |_, status, us| us.to_i if status == '200' } }
        { 'requests' => good, 'duration_us' => (seconds * 1e6).round, 'bytes' => out[/\((\d+)\) total/, 1].to_i, 'connect' => 0,
          'read' => requests[3].to_i, 'write' => 0, 'status' => out.match(/(\d+) 2xx/) { |m| done - m[1].to_i }.to_i,
          'timeout' => requests[5].to_i, 'length' => wrong_lengths(good, out[/\((\d+)\) data/, 1].to_i, answer),
          **(times.empty? ? Generator.latencies([0]) : Generator.latencies(times)) }
      end

      private

      def argv(kase, url, seconds, log)
        list = ['h2load', '-t1', '-c', kase.connections.to_s, '-m', kase.depth.to_s, '-D', seconds.to_s, "--log-file=#{log}"]
        list << '--h1' unless kase.needs.include?(:h2)
        list << "--rps=#{kase.rate / kase.connections}" if kase.rate
        kase.headers.each { |k, v| list.push('-H', "#{k}: #{v}") }
        [*list, url]
      end

      # Bytes of bodies are exact but for those that were on their way at the end.
      def wrong_lengths(good, data, answer)
        return 0 unless answer && good.positive?

        off = data - (good * answer['body_bytes'])
        off.between?(0, 1000 * answer['body_bytes']) ? 0 : [off.abs / [answer['body_bytes'], 1].max, 1].max
      end
    end
  end
end
