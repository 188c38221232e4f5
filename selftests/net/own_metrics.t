#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Numbers of the app's own in the server's scrape: what all workers have counted, whoever is asked.

require_relative "top"
require_relative "exposition"

TOKEN = "correct-horse"
BEARER = "Authorization: Bearer #{TOKEN}".freeze
OPEN = "Accept: application/openmetrics-text; version=1.0.0"

APP = <<~'RUBY'
  M = Hyperion::Metrics
  ORDERS = M.counter(:orders_total, "Orders \"taken\"\nby kind.", labels: [:kind])
  LAST = M.gauge("last_value", "The last one.")
  TIMES = M.histogram(:work_seconds, "Work.", labels: %i[step], buckets: [0.1, 1, 10])
  ORDERS.increment(100, kind: "mold") # before the fork: nobody's
  LAST.set(7)
  run lambda { |env|
    what, value = env["QUERY_STRING"].split("=")
    case env["PATH_INFO"]
    when "/order" then ORDERS.increment(Float(value || 1), kind: what)
    when "/last" then LAST.set(Float(what))
    when "/work" then TIMES.observe(Float(value), step: what)
    when "/odd" then ORDERS.increment(kind: "a\"b\\c\nd\te")
    when "/later" then M.counter(:later, "After the fork.").increment
    when "/many" then value.to_i.times { |i| ORDERS.increment(kind: "#{what}#{i}") }
    when "/gc" then 3.times { GC.start }
    when "/fork"
      pid = fork { ORDERS.increment(1000, kind: "child"); sleep 0.2; exit!(0) }
      Process.wait(pid)
    when "/wrong"
      begin
        eval(env["rack.input"].read)
      rescue ArgumentError => e
        next [400, {}, [e.message]]
      end
    end
    [200, { "content-type" => "text/plain" }, [Process.pid.to_s]]
  }
RUBY

def serve_app(*args)
  app = File.join(open_folder, "config.ru")
  File.write(app, APP)
  serve_counted("--admin-token", TOKEN, "-e", "production", *args, app).first
end

def scrape(server, *headers)
  answer = server.client.get("/-/metrics", BEARER, *headers)
  assert_equal 200, answer.status
  Exposition.new(answer.body, open: answer.headers["content-type"].start_with?("application/openmetrics-text"))
end

def orders(metrics, kind) = metrics["orders_total", kind: kind]

# The first scrape in which that holds; numbers are published once in a second.
def scraped(server, what)
  eventually(what) { m = scrape(server); m if yield m }
end

# A connection to each of the workers.
def client_of_each(server, nr)
  clients = {}
  eventually("#{nr} workers") do
    client = server.client
    clients[client.get("/").body] ||= client
    clients.size == nr
  end
  clients.values
end

# Kills the worker of that client; a client of the next one.
def killed_and_replaced(server, client)
  old = client.get("/").body
  Process.kill(:KILL, old.to_i)
  eventually("another worker") do
    fresh = server.client
    fresh if fresh.get("/").body != old
  rescue SystemCallError, EOFError
    nil # it was accepted by the dying one
  end
end

[["-t", 2], ["-t", 0]].each do |threads|
  test "what two workers have counted is one number, threads #{threads.last}" do
    server = serve_app("-w", 2, *threads)
    a, b = client_of_each(server, 2)
    3.times { a.get("/order?tea") }
    4.times { b.get("/order?tea=0.5") }
    b.get("/order?milk=2")
    a.get("/work?pack=0.05")
    b.get("/work?pack=1")
    b.get("/work?pack=99")
    a.get("/last?1.5")
    a.get("/odd")
    m = scraped(server, "all") do |s|
      orders(s, "tea") == 5 && orders(s, "milk") && s["work_seconds_count", step: "pack"] == 3 && orders(s, "a\"b\\c\nd e") &&
        s.all("last_value").values.sort == [1.5, 7]
    end
    assert_equal [2.0, 1.0], [orders(m, "milk"), orders(m, "a\"b\\c\nd e")]
    assert_equal nil, m.all("orders_total").values.find { |n| n >= 100 }
    assert_equal [1.0, 2.0, 2.0, 3.0], %w[0.1 1.0 10.0 +Inf].map { |le| m["work_seconds_bucket", step: "pack", le: le] }
    assert_equal 100.05, m["work_seconds_sum", step: "pack"].round(9)
    assert_equal({ "0" => 1, "1" => 1 }, m.all("last_value").keys.map { |l| l["worker"] }.tally)
    assert_equal %w[counter gauge histogram], m.types.values_at("orders_total", "last_value", "work_seconds")
    assert_equal "counter", scrape(server, OPEN).types["orders"]
    assert_equal 0.0, m["hyperion_own_metrics_dropped_total"]
  end
end

test "counters go on when a worker is replaced, gauges of the dead do not" do
  server = serve_app("-w", 1)
  client = server.client
  5.times { client.get("/order?tea") }
  client.get("/work?pack=5")
  client.get("/last?3")
  client.get("/later")
  scraped(server, "all") { |m| orders(m, "tea") == 5 && m["later_total"] == 1 && m["last_value", worker: "0"] == 3 }
  fresh = killed_and_replaced(server, client)
  m = scraped(server, "the next one's gauge") { |s| s["last_value", worker: "0"] == 7 }
  assert_equal [5.0, 1.0, 1.0], [orders(m, "tea"), m["later_total"], m["work_seconds_count", step: "pack"]]
  2.times { fresh.get("/order?tea") }
  fresh.get("/later")
  fresh.get("/work?pack=0.01")
  m = scraped(server, "more") { |s| orders(s, "tea") == 7 && s["later_total"] == 2 && s["work_seconds_count", step: "pack"] == 2 }
  assert_equal [1.0, 1.0, 2.0], [0.1, 1.0, 10.0].map { |le| m["work_seconds_bucket", step: "pack", le: le.to_s] }
end

test "a child that the app forks counts for nobody" do
  server = serve_app("-w", 1)
  client = server.client
  client.get("/fork")
  client.get("/order?tea")
  m = scraped(server, "tea") { |s| orders(s, "tea") == 1 }
  assert_equal nil, orders(m, "child")
end

test "more than there is room for is dropped, and that is counted" do
  server = serve_app("-w", 1)
  client = server.client
  client.get("/order?tea")
  client.get("/many?#{"x" * 100}=1000")
  m = scraped(server, "drops") { |s| s["hyperion_own_metrics_dropped_total"].positive? }
  kept = m.all("orders_total").count { |labels, _| labels["kind"].start_with?("xx") }
  assert_equal 1000.0, kept + m["hyperion_own_metrics_dropped_total"]
  assert_equal true, kept.between?(300, 700), kept
  client.get("/order?tea")
  scraped(server, "what was there goes on") { |s| orders(s, "tea") == 2 }
end

test "names, labels and values that are none" do
  server = serve_app("-w", 1)
  {
    "M.counter('a b')" => '"a b" is no name of a metric: letters, digits, _ and :',
    "M.gauge('hyperion_x')" => "hyperion_x: names of hyperion_ and process_ are the server's",
    "M.gauge('x_count')" => "x_count: a metric's name does not end with _count",
    "M.counter(:x, labels: ['a-b'])" => 'x: "a-b" is no name of a label',
    "M.counter(:x, labels: ['__a'])" => 'x: "__a" is no name of a label',
    "M.gauge(:x, labels: [:worker])" => "x: the label worker is the server's",
    "M.gauge(:x, labels: [:a, 'a'])" => "x: a label stands twice in [:a]",
    "M.gauge(:orders)" => "orders is there already, as something else",
    "M.histogram(:x, buckets: [2, 1])" => "x: 1 to 60 rising buckets are needed, not [2, 1]",
    "ORDERS.increment" => "orders: labels [:kind] are needed, not []",
    "ORDERS.increment(kind: 1, b: 2)" => "orders: labels [:kind] are needed, not [:kind, :b]",
    "ORDERS.increment(-1, kind: 1)" => "orders: a counter only grows, by -1 it would not",
    "LAST.set(Float::NAN)" => "last_value: a finite number is needed, not NaN",
    "210.times { |i| M.counter(\"c#{'#'}{i}\") }" => "c197: there are 200 metrics already",
  }.each do |code, why|
    body = code.b
    answer = server.client.write("POST /wrong HTTP/1.1\r\nHost: t\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}").answer
    assert_equal [400, why], [answer.status, answer.body], code
  end
  assert_equal nil, scrape(server)["x_total"]
end

test "runs of the garbage collector are counted, and their time" do
  server = serve_app("-w", 1)
  client = server.client
  client.get("/")
  runs = ->(m) { m["hyperion_worker_gc_runs_total", worker: "0"] }
  before = scrape(server)
  client.get("/gc")
  after = scraped(server, "three more") { |m| runs[m] - runs[before] >= 3 }
  assert_equal true, after["hyperion_worker_gc_seconds_total", worker: "0"] > before["hyperion_worker_gc_seconds_total", worker: "0"]
  assert_equal true, runs[before] < 50, "those of the mold are not the worker's"
  killed_and_replaced(server, client)
  assert_equal true, runs[scrape(server)] >= runs[after], "they go on"
end
