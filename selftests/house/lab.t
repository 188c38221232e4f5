#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The performance lab: what it concludes from figures, what it refuses, and one small run of it.

require_relative "../harness/tap"
require_relative "../../bench/lib/lab"
require "json"
require "open3"
require "socket"
require "stringio"
require "tmpdir"

%w[cases peers].each { |folder| Lab.load_folder(folder) }

LAB = File.join(Server::ROOT, "bench/lab")
CLIENTS = File.join(Server::BUILD, "bench")

def a_case(**more)
  Lab::Case.new(name: :sample, title: "a sample", resource: :constant, **Lab::DEFAULTS, **more)
end

# What a generator says of one second.
def figures(requests, **more)
  { "requests" => requests, "duration_us" => 1_000_000, "bytes" => requests * 100, "p50_us" => 10.0, "p99_us" => 20.0, "p999_us" => 30.0,
    "max_us" => 40.0, "latency" => { "50" => 10.0, "99" => 20.0, "100" => 40.0 }, "generator_s" => 0.5, **more.transform_keys(&:to_s) }
end

# A row with a round for each cost in us; foreign: share of the server's CPU that others took.
def a_row(peer, costs, kase: a_case, requests: 1000, foreign: 0.0, **more)
  row = Lab::Row.new(kase, Lab.peers.fetch(peer))
  row.answer = { "status" => 200, "body_bytes" => 3 }
  costs.each_with_index do |us, n|
    cpu = (us * requests * 1000).round
    row.add(n, figures(requests, **more), cpu, :schedstat, cpu + (foreign * 1e9).to_i, 1 << 20)
  end
  row
end

FakeRunner = Struct.new(:rows, :settings, :complete)

def a_report(rows, complete: true)
  runner = FakeRunner.new(rows, { rounds: 3, seconds: 1, server_cpu: 0, load_cpu: 1, build: Server::BUILD }, complete)
  JSON.parse(JSON.generate(Lab::Report.new(runner, build: Server::BUILD, began: Time.at(0)).json))
end

def missing(peer, reason, kase: a_case)
  Lab::Row.new(kase, Lab.peers.fetch(peer)).tap { |r| r.give_up(:missing, reason) }
end

# Answers every connection's first request with these bytes, then closes.
def fake_server(answer)
  server = TCPServer.new("127.0.0.1", 0)
  thread = Thread.new do
    loop do
      sock = server.accept
      sock.readpartial(4096)
      sock.write(answer)
      sock.close
    end
  end
  Tap.after do
    thread.kill
    server.close
  end
  server.addr[1]
end

def check(answer, kase = a_case)
  Lab::Dialogue.new("127.0.0.1", fake_server(answer), kase, "/").check
end

test "marks: each for its reason, none without" do
  assert_equal [], a_row(:nginx, [10, 11, 10]).marks
  assert_equal ["noisy"], a_row(:nginx, [10, 13, 10]).marks
  assert_equal ["disturbed"], a_row(:nginx, [10, 10, 10], foreign: 0.2).marks
  assert_equal ["load-bound"], a_row(:nginx, [10, 10, 10], generator_s: 0.95).marks
  assert_equal [], a_row(:nginx, [10], kase: a_case(rate: 1000), generator_s: 0.95).marks
  assert_equal ["behind"], a_row(:nginx, [10], kase: a_case(rate: 1200)).marks
  assert_equal ["not-resumed"], a_row(:nginx, [10], kase: a_case(resumed: true, connections: 10), resumed: 900).marks
  assert_equal [], a_row(:nginx, [10], kase: a_case(resumed: true, connections: 10), resumed: 990).marks
end

test "medians, and ratios within the rounds" do
  row = a_row(:nginx, [10, 20, 40])
  assert_equal 20.0, row.median
  assert_equal 2.0, row.ratio_to(a_row(:h2o, [5, 10, 20]))
  assert_equal 15.0, Lab::Row.median([10, 20])
  assert_equal nil, Lab::Row.median([nil])
end

test "errors are counted by kind, fairness by connection" do
  row = a_row(:nginx, [10, 10], read: 2, status: 1, least: 40, most: 50)
  assert_equal 6, row.errors
  assert_equal({ "read" => 4, "status" => 2 }, row.error_kinds)
  assert_equal 0.8, row.fairness
  assert_equal nil, a_row(:nginx, [10], kase: a_case(fresh: true), least: 1, most: 2).fairness
end

test "percentiles of single times" do
  said = Lab::Generator.latencies((1..1000).to_a.reverse)
  assert_equal [500, 990, 999, 1000], said.values_at("p50_us", "p99_us", "p999_us", "max_us")
  assert_equal 900, said["latency"]["90"]
end

H2LOAD = <<~TEXT
  finished in 2.00s, 50.00 req/s, 1.00KB/s
  requests: 110 total, 102 started, 100 done, 99 succeeded, 1 failed, 0 errored, 0 timeout
  status codes: 99 2xx, 0 3xx, 0 4xx, 1 5xx
  traffic: 9.77KB (10000) total, 2.00KB (2000) headers (space savings 0.00%), 297B (297) data
TEXT

test "what h2load says" do
  log = (1..99).map { |i| "1#{i}\t200\t#{i}\n" }.join << "1\t500\t9000\n"
  said = Lab::H2load.figures(H2LOAD, log, { "body_bytes" => 3 })
  assert_equal [99, 2_000_000, 1, 0, 50], said.values_at("requests", "duration_us", "status", "length", "p50_us")
  assert_equal 99, said["max_us"]
  assert_equal true, Lab::H2load.figures(H2LOAD, log, { "body_bytes" => 4 })["length"].positive?
  assert_raise(Lab::Server::Failed) { Lab::H2load.figures("Cannot connect", "", nil) }
end

test "a wrong answer is found before it is measured" do
  head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
  facts = check("#{head}OK\n")
  assert_equal [200, 3, head.bytesize], facts.values_at("status", "body_bytes", "head_bytes")
  assert_equal 3, check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nOK\n\r\n0\r\n\r\n")["body_bytes"]
  assert_raise(Lab::Server::Failed) { check("#{head}NO\n") }
  assert_raise(Lab::Server::Failed) { check("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nOK\n") }
  assert_raise(Lab::Server::Failed) { check("HTTP/1.1 200 OK\r\n\r\nOK\n") }
end

test "what a server does not speak is lacking, not failing" do
  assert_raise(Lab::Server::Lacks) { check("HTTP/1.1 400 No\r\n\r\n", a_case(needs: [:tls])) }
  assert_raise(Lab::Server::Lacks) { check("HTTP/1.1 400 No\r\n\r\n", a_case(needs: %i[tls h2])) }
  assert_raise(Lab::Server::Lacks) { check("HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n", a_case(needs: [:websocket])) }
end

test "our clients count what is wrong" do
  wrong = fake_server("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nOK\n")
  %w[load echo].each do |name|
    out, = Open3.capture2e(File.join(CLIENTS, name), "--port", wrong.to_s, "--connections", "2", "--seconds", "0.3")
    said = JSON.parse(out)
    assert_equal 0, said["requests"], name
    assert said["errors"].positive?, name
  end
end

test "a peer says why it cannot" do
  puma, nginx = Lab.peers.values_at(:"puma-5", :nginx)
  assert_equal "has no HTTP/2", puma.reason_against(Lab.cases.fetch(:h2_hello))
  assert_equal nil, nginx.reason_against(Lab.cases.fetch(:h2_hello))
  assert_equal "closes each connection after its answer", Lab.peers.fetch(:unicorn).reason_against(a_case(name: :pipelined16, resource: :hello))
  refute nginx.concerns?(Lab.cases.fetch(:rack_json))
end

test "two reports: what differs beyond noise" do
  before = a_report([a_row(:floor, [5, 5, 5]), a_row(:nginx, [10, 10, 10]), a_row(:hyperion, [10, 10, 10]), a_row(:h2o, [10, 10, 10])])
  after = a_report([a_row(:floor, [10, 10, 10]), a_row(:nginx, [20, 20, 20]), a_row(:hyperion, [30, 30, 30]), a_row(:h2o, [10, 40, 90])])
  verdicts = Lab::Compare.new(before, after).lines.to_h { |l| [l.peer, [l.key, l.verdict]] }
  assert_equal ["x floor", "same"], verdicts["nginx"] # a machine half as fast changes no ratio
  assert_equal ["x floor", "DEARER"], verdicts["hyperion"]
  assert_equal "noisy", verdicts["h2o"].last
  assert_equal "CHEAPER", Lab::Compare.new(after, before).lines.find { |l| l.peer == "hyperion" }.verdict
  assert_equal [["sample h2o"], []], Lab::Compare.new(before, a_report([a_row(:floor, [5]), a_row(:nginx, [5]), a_row(:hyperion, [5])])).lost
end

test "the document names weak rows, what is missing and why" do
  json = a_report([a_row(:nginx, [10, 10]), a_row(:hyperion, [20, 20]), a_row(:"puma-5", [50, 50]), a_row(:"hyperion-t5", [40, 40]),
                   missing(:"hyperion-t1", "refused | it")], complete: false)
  document = Lab::Document.new(json)
  assert_equal [["hyperion", "nginx", 2.0]], document.weak_rows.map { |_, mine, other, x| [mine["peer"], other["peer"], x] }
  text = document.text
  assert_include text, "- sample: hyperion takes 20.00 us, nginx 10.00 us: 2.00 times as much"
  assert_include text, "hyperion-t1 missing: refused | it"
  assert_include text, "missing: refused \\| it |"
  assert_include text, "that was stopped early"
  assert_include text, "| nginx | 10.00 (10.00–10.00) | 1000 | 10 | 20 | 30 | 1 | – | 1.00 |"
end

# The tables of docs/BENCHMARKING.md have a name in backquotes for each member.
test "every member of the JSON is documented" do
  doc = File.read(File.join(Server::ROOT, "docs/BENCHMARKING.md"))
  doc = doc[/^## JSON.*?(?=^## |\z)/m]
  json = a_report([a_row(:floor, [5], kase: a_case(rate: 1)), a_row(:nginx, [10], kase: a_case(rate: 1), least: 1, most: 2, resumed: 3, rate_asked: 4)])
  row = json["rows"].last
  names = [json, json["machine"], json["settings"], json["peers"][0], json["cases"][0], row, row["rounds"][0], row["median"]].flat_map(&:keys)
  assert_equal [], names.uniq.reject { |name| doc.match?(/\b#{name}\b/) }
end

test "a schema that is not ours is refused" do
  Dir.mktmpdir do |dir|
    file = File.join(dir, "a.json")
    File.write(file, JSON.generate("schema" => 99))
    out, status = Open3.capture2e(LAB, "compare", file, file)
    assert_equal 2, status.exitstatus
    assert_include out, "schema 99"
  end
end

test "a small run, its report and its comparison with itself", seconds: 60 do
  needs "tool", "wrk"
  Dir.mktmpdir do |dir|
    json, markdown = %w[a.json a.md].map { |name| File.join(dir, name) }
    out, status = Open3.capture2e(LAB, "run", "--only", "constant", "--peers", "hyperion,floor", "--rounds", "1", "--seconds", "1",
                                  "--build", Server::BUILD, "--json", json, "--markdown", markdown)
    assert_equal 0, status.exitstatus, out
    report = JSON.parse(File.read(json))
    assert report["complete"]
    assert_equal [%w[hyperion ok], %w[floor ok]], report["rows"].map { |r| r.values_at("peer", "status") }
    report["rows"].each { |r| assert r["rounds"][0]["requests"].positive? && r["errors"].zero?, r.inspect }
    assert_include File.read(markdown), "| hyperion | "
    compared, status = Open3.capture2e(LAB, "compare", json, json)
    assert_equal 0, status.exitstatus, compared
    refute_match(/DEARER|CHEAPER/, compared)
  end
end

test "stopped by Ctrl-C, what is done is kept", seconds: 60 do
  needs "tool", "wrk"
  Dir.mktmpdir do |dir|
    json = File.join(dir, "a.json")
    r, w = IO.pipe
    pid = Process.spawn(LAB, "run", "--only", "constant", "--peers", "hyperion", "--rounds", "9", "--seconds", "1", "--build", Server::BUILD,
                        "--json", json, out: w, err: w)
    w.close
    said = +""
    said << r.readpartial(4096) until said.include?("round 2/9")
    Process.kill("INT", pid)
    said << r.read
    Process.wait(pid)
    report = JSON.parse(File.read(json))
    refute report["complete"]
    assert_equal 1, report["rows"][0]["rounds"].size, said
  end
end
