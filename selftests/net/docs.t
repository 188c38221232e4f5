#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# docs/OBSERVABILITY.md and docs/grafana.json speak of the metrics that there are.

require_relative "top"
require_relative "exposition"

DOCS = File.expand_path("../../docs", __dir__)
GUIDE = File.read(File.join(DOCS, "OBSERVABILITY.md"), encoding: "UTF-8")
METRIC = /\b(?:hyperion|process)_[a-z_]+\b/
NEEDS_RUBY_3_2 = %w[hyperion_worker_gvl_wait_seconds_total].freeze

# Of a server with an app, which has been asked.
def exposition
  app = File.join(open_folder, "config.ru")
  File.write(app, "run ->(_) { [200, {}, ['hi']] }")
  server, = serve_counted("-w", 1, "--observe", "-e", "production", "--admin-token", "t", app)
  server.client.get("/")
  eventually("the request") do
    m = Exposition.new(server.client.get("/-/metrics", "Authorization: Bearer t").body)
    m if m["hyperion_requests_total", mode: "app"] == 1
  end
end

def absent(metrics)
  bpf = Capabilities.has?("bpf", hidden: Tap::HIDDEN) ? [] : GUIDE.scan(METRIC).grep(/\Ahyperion_tcp_/)
  bpf + (RUBY_VERSION < "3.2" ? NEEDS_RUBY_3_2 - metrics.types.keys : [])
end

test "each query of the dashboard asks for samples that there are, by labels that they have" do
  metrics = exposition
  panels = JSON.parse(File.read(File.join(DOCS, "grafana.json")))["panels"]
  queries = panels.flat_map { |panel| panel.fetch("targets", []).map { |target| target["expr"] } }
  assert_equal true, queries.size > 20
  labels = metrics.samples.keys.group_by(&:first).transform_values { |keys| keys.flat_map { |_, l| l.keys }.uniq }
  queries.each do |query|
    name = query[METRIC]
    next if absent(metrics).include?(name)

    known = labels[name] or flunk("#{name} is in no scrape: #{query}")
    used = query.scan(/by \(([^)]*)\)/).flatten.flat_map { |list| list.split(", ") } + query.scan(/(\w+)=~?"/).flatten - ["job"]
    assert_equal [], used - known, query
  end
end

test "the guide explains each metric, and none that there is not" do
  metrics = exposition
  told = GUIDE[/^## Metrics\n.*?(?=^## )/m]
  assert_equal [], metrics.types.keys - told.scan(METRIC)
  samples = metrics.types.keys + metrics.samples.keys.map(&:first)
  assert_equal [], told.scan(METRIC).uniq - samples - absent(metrics)
end

test "its Ruby is Ruby" do
  blocks = GUIDE.scan(/^```ruby\n(.*?)^```/m).flatten
  assert_equal true, blocks.size >= 5
  blocks.each do |code|
    RubyVM::InstructionSequence.compile(code)
  rescue SyntaxError => e
    flunk(e.message)
  end
end

test "its examples of names and of numbers do what it says" do
  names, numbers = [/path_info/i, /Metrics\.counter/].map { |what| GUIDE.scan(/^```ruby\n(.*?)^```/m).flatten.find { |code| code.match?(what) } }
  app = File.join(open_folder, "config.ru")
  File.write(app, "def ask = sleep(0.02)\n#{names}\nrun ->(_) {\n#{numbers.gsub(/^([A-Z]+) +=/, '\1 ||=')}\n[200, {}, ['hi']] }\n")
  server, = serve_counted("-w", 1, "-e", "production", "--admin-token", "t", app)
  %w[/shops/a /shops/b/cart /shops/c /else].each { |path| assert_equal 200, server.client.get(path).status }
  m = eventually("four") do
    m = Exposition.new(server.client.get("/-/metrics", "Authorization: Bearer t").body)
    m if m["shop_orders_total", kind: "tea"] == 4 && m["hyperion_requests_total", mode: "app"] == 4
  end
  assert_equal [12.0, 8.0], [m["shop_stock", worker: "0"], m["shop_price_seconds_count", shop: "a"]]
  assert_equal({ "/shops/:shop" => 2.0, "/shops/:shop/cart" => 1.0, "/else" => 1.0 },
               m.all("hyperion_request_duration_seconds_count").transform_keys { |l| l["path"] }.except("/-/metrics"))
end
