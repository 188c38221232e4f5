#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# More than the app takes, or longer than it may take: 503, and its counter.

require_relative "../procs/app"

# A server of one worker whose handlers wait at a gate: GET /wait returns when the file `open` is there.
GATE = <<~'RUBY'
  run(lambda do |env|
    case env["PATH_INFO"]
    when "/wait" then sleep 0.005 until File.exist?("open")
    when "/finished"
      env["rack.response_finished"] << ->(_, status, _, error) { File.write("finished", "#{status} #{error.class};", mode: "a") }
      sleep 0.005 until File.exist?("open")
    when "/hijack"
      io = env["rack.hijack"].call
      sleep 0.005 until File.exist?("open")
      io.write("mine")
      io.close
      next [-1, {}, []]
    when "/stream"
      stream = lambda do |out|
        20_000.times { out.write("x" * 100); sleep 0.001 }
      rescue => e
        File.write("stopped", e.class.name)
        raise
      end
      next [200, { "content-type" => "text/plain" }, stream]
    when "/begin"
      body = Enumerator.new { |y| y << "begun"; sleep 0.005 until File.exist?("open"); y << "ended" }
    end
    File.write("done", "x", mode: "a") if env["PATH_INFO"] != "/"
    [200, { "content-type" => "text/plain" }, body || ["fine"]]
  end)
RUBY

def gate(*args)
  serve("-w", 1, "--log-level", "debug", "--idle-keepalive", 1, *args, files: { "config.ru" => GATE })
end

def request(path)
  "GET #{path} HTTP/1.1\r\nHost: test\r\n\r\n"
end

def assert_503(answer)
  assert_equal [503, "1"], [answer.status, answer.headers["retry-after"]]
  refute answer.last?
end

# What the worker said at its end.
def counters(server)
  server.clients_go
  assert_equal 0, server.stop.exitstatus
  line = server.log.lines.grep(/debug: worker: served/)
  assert_equal 1, line.size, server.log
  line.first.scan(/(\w+)=(\d+)/).to_h { |name, nr| [name.to_sym, nr.to_i] }
end

test "more than max_in_flight_per_conn: the rest gets 503, other connections are served" do
  server = gate("-t", 5, "--max-in-flight-per-conn", 2)
  client = server.client.write(request("/wait") * 4)
  assert_equal "fine", server.client.get.body
  server.write("open")
  assert_equal(%w[fine fine], Array.new(2) { client.answer.body })
  2.times { assert_503 client.answer }
  assert_equal "fine", client.get.body
  stats = counters(server)
  assert_equal [2, 6, 0], stats.values_at(:per_conn_rejections, :requests, :pending_rejections)
end

test "max_in_flight_per_conn from the config file and the environment" do
  { { "hyperion.rb" => "max_in_flight_per_conn :auto" } => {}, {} => { "HYPERION_MAX_IN_FLIGHT_PER_CONN" => "1" } }.each do |files, env|
    args = files.empty? ? [] : ["-C", "hyperion.rb"]
    server = serve("-w", 1, "-t", 5, *args, files: files.merge("config.ru" => GATE), env: env)
    client = server.client.write(request("/wait") * 2)
    eventually("its turn") { server.client.get.body == "fine" }
    server.write("open")
    assert_equal 200, client.answer.status
    assert_503 client.answer
    server.kill
  end
end

test "more than max_pending: 503" do
  server = gate("-t", 1, "--max-pending", 2)
  first = server.client.write(request("/wait"))
  eventually("it to run") { Procs.title(server.worker) =~ /1 of 1 threads busy/ }
  more = Array.new(6) { server.client.write(request("/wait")) }
  refused = eventually("some to be refused") do
    ready = more.select { |client| client.socket.wait_readable(0) }
    ready if ready.size >= 4
  end
  refused.each { |client| assert_503 client.answer }
  server.write("open")
  ([first] + more - refused).each { |client| assert_equal 200, client.answer.status }
  assert_equal refused.size, counters(server)[:pending_rejections]
end

test "max_request_seconds: 503, the handler ends by itself, the connection goes on" do
  server = gate("-t", 2, "--max-request-seconds", 1)
  client = server.client
  assert_503 client.get("/wait")
  assert_match(/warn: http: the app took longer than max_request_seconds, answered 503 method=GET target=\/wait$/, server.log)
  assert_equal "", server.read("done")
  assert_equal "fine", client.get.body
  server.write("open")
  eventually("the handler to end") { server.read("done") == "x" }
  assert_equal "fine", client.get.body
  stats = counters(server)
  assert_equal [1, 3, 0], stats.values_at(:overtime, :requests, :cut)
end

test "max_request_seconds within an answer: it is cut" do
  server = gate("-t", 2, "--max-request-seconds", 1)
  got = server.client.write(request("/begin")).rest
  assert_match(/\AHTTP\/1.1 200 OK\r\n.*^transfer-encoding: chunked\r\n.*begun\r\n\z/m, got)
  eventually("its line") { server.log.include?("max_request_seconds, its answer is cut method=GET target=/begin") }
  server.write("open")
  assert_equal 1, counters(server)[:overtime]
end

test "max_request_seconds: response_finished is called once, and says that it did not come so far" do
  server = gate("-t", 2, "--max-request-seconds", 1)
  client = server.client
  assert_503 client.get("/finished")
  assert_equal "", server.read("finished")
  server.write("open")
  eventually("its end") { server.read("finished") != "" }
  assert_equal "fine", client.get.body
  assert_equal "200 Hyperion::ClientGone;", server.read("finished")
  assert_equal 1, counters(server)[:overtime]
end

test "max_request_seconds: a hijacked connection is the app's" do
  server = gate("-t", 2, "--max-request-seconds", 1)
  client = server.client.write(request("/hijack"))
  sleep 1.5
  server.write("open")
  assert_equal "mine", client.rest
  assert_equal 0, counters(server)[:overtime]
end

test "max_request_seconds: a stream is cut, and its writer is told" do
  server = gate("-t", 2, "--max-request-seconds", 1)
  got = server.client.write(request("/stream")).rest
  assert_match(/\AHTTP\/1.1 200 OK\r\n/, got)
  refute_match(/\r\n0\r\n\r\n\z/, got)
  eventually("it to stop") { server.read("stopped") != "" }
  assert_equal "Errno::EPIPE", server.read("stopped")
  assert_equal 1, counters(server)[:overtime]
end
