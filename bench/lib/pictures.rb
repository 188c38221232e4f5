# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'fileutils'
require 'open3'

module Lab
  # Pictures of a report by gnuplot: CPU per request, with the floor as a line, and how latency grows towards the last percent.
  class Pictures
    def self.absence
      'gnuplot is not installed (bench/lab setup)' unless ENV['PATH'].split(':').any? { |d| File.executable?("#{d}/gnuplot") }
    end

    # Files land in `dir`; `link` is how the document names it.
    def initialize(dir, link)
      @dir = dir
      @link = link
      FileUtils.mkdir_p(dir)
    end

    # [[title, file as the document names it]]
    def for_case(json, name)
      rows = json['rows'].select { |r| r['case'] == name && r['rounds'].any? }
      kase = json['cases'].find { |c| c['name'] == name }
      pictures = { "#{name}: CPU per request" => ["#{name}-cpu.svg", rows.size > 1 && bars(rows)],
                   "#{name}: latency" => ["#{name}-latency.svg", kase['rate'] && curves(rows)] }
      pictures.filter_map { |title, (file, script)| script && draw(file, title, script) && [title, "#{@link}/#{file}"] }
    end

    private

    def bars(rows)
      floor, servers = rows.partition { |r| r['peer'] == 'floor' }
      data = servers.sort_by { |r| r['median']['cpu_us_per_request'] }.map do |r|
        [r['peer'].inspect, *[r['median'], r['min'], r['max']].map { |h| h['cpu_us_per_request'] }].join(' ')
      end
      limit = floor[0]&.then { |r| r['median']['cpu_us_per_request'] }
      <<~PLOT
        $rows << EOD
        #{data.join("\n")}
        EOD
        set ylabel 'us of CPU per request'
        set yrange [0:*]
        set xtics rotate by -35
        set style fill solid 0.6
        set boxwidth 0.6
        #{limit ? "set arrow from graph 0, first #{limit} to graph 1, first #{limit} nohead lw 2 dt 2 front\nset label 'floor' at graph 0.01, first #{limit} offset 0, 0.6 front" : ''}
        plot $rows using 0:2:xtic(1) with boxes notitle, $rows using 0:2:3:4 with yerrorbars pt 0 lc 'black' notitle
      PLOT
    end

    # x = 1 / (1 - q): each step to the right is ten times rarer.
    def curves(rows)
      rows = rows.reject { |r| r['latency'].to_h.empty? }
      return nil if rows.empty?

      blocks = rows.each_with_index.map do |r, i|
        points = r['latency'].reject { |p, us| p == '100' || us.nil? }.map { |p, us| "#{1 / (1 - (p.to_f / 100))} #{us / 1e3}" }
        "$curve#{i} << EOD\n#{points.join("\n")}\nEOD\n"
      end
      plots = rows.each_with_index.map { |r, i| "$curve#{i} using 1:2 with linespoints title #{r['peer'].inspect}" }
      <<~PLOT
        #{blocks.join}
        set logscale xy
        set xtics ('50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000, '99.99 %%' 10000)
        set ylabel 'ms'
        set key left top
        plot #{plots.join(', ')}
      PLOT
    end

    def draw(file, title, script)
      output = File.join(@dir, file)
      program = "set terminal svg size 800,400 noenhanced background 'white'\nset output #{output.inspect}\n" \
                "set title #{title.inspect}\nset grid ytics\n#{script}"
      said, status = Open3.capture2e('gnuplot', '-', stdin_data: program)
      raise UsageError, "gnuplot: #{said.lines.last(3).join.strip}" unless status.success?

      true
    end
  end
end
