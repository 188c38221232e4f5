#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The server's own pages: who may see them, and that they say what clients have seen.

require_relative "top"
require_relative "exposition"

TOKEN = "correct-horse"
BEARER = "Authorization: Bearer #{TOKEN}".freeze
OPEN = "application/openmetrics-text; version=1.0.0"

def serve_admin(*args, **how)
  serve_counted("-w", 1, "--constant", "/=x", "--admin-token", TOKEN, *args, **how).first
end

def scrape(server, *headers)
  answer = server.client.get("/-/metrics", BEARER, *headers)
  assert_equal 200, answer.status
  Exposition.new(answer.body, open: answer.headers["content-type"].start_with?("application/openmetrics-text"))
end

test "without a token there are no pages but health and ready" do
  server, = serve_counted("-w", 1)
  assert_equal [200, "OK\n"], server.client.get("/-/health").then { |a| [a.status, a.body] }
  assert_equal [200, "ready\n"], server.client.get("/-/ready").then { |a| [a.status, a.body] }
  %w[metrics stats quit].each { |page| assert_equal 404, server.client.get("/-/#{page}", BEARER).status, page }
end

test "a token: right, wrong, none, in either field" do
  server = serve_admin
  wrong = ["", "Authorization: Bearer", "Authorization: Bearer #{TOKEN}x", "Authorization: Bearer #{TOKEN[0..-2]}",
           "Authorization: Basic #{TOKEN}", "Authorization: #{TOKEN}", "X-Hyperion-Admin-Token: wrong",
           "X-Hyperion-Admin-Token:"]
  wrong.each do |field|
    answer = server.client.get("/-/metrics", *(field.empty? ? [] : [field]))
    assert_equal [401, "Bearer"], [answer.status, answer.headers["www-authenticate"]], field
    refute_match(/hyperion_/, answer.body)
  end
  [BEARER, "authorization: bearer #{TOKEN}", "X-Hyperion-Admin-Token: #{TOKEN}"].each do |field|
    assert_equal 200, server.client.get("/-/metrics", field).status, field
  end
  assert_equal 200, server.client.get("/-/ready").status
  answer = server.client.write("POST /-/quit HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").answer
  assert_equal 401, answer.status
  assert server.alive?
  assert_equal [405, "GET, HEAD"], server.client.write("POST /-/metrics HTTP/1.1\r\nHost: test\r\n#{BEARER}\r\n\r\n").answer.then { |a| [a.status, a.headers["allow"]] }
end

on_each_loop "metrics are those of all workers, from any of them" do |mode|
  server = serve_admin("--io-uring", mode, "-w", 2)
  eventually("two workers") { server.workers.size == 2 }
  length = server.exchange("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").bytesize
  29.times { server.client.get("/", "Connection: close") }
  7.times { server.client.get("/nothing", "Connection: close") }
  seen = Array.new(4) { eventually("all") { m = scrape(server); m if m["hyperion_requests_total", mode: "protocol"] == 7 } }
  seen.each do |m|
    assert_equal 30.0, m["hyperion_request_duration_seconds_count", method: "GET", path: "/", status: "2xx"]
    assert_equal 7.0, m["hyperion_request_duration_seconds_count", method: "-", path: "(not found)", status: "4xx"]
    assert_equal 0.0, m["hyperion_requests_total", mode: "app"]
    assert_equal 2.0, m["hyperion_workers", state: "serving"]
    assert_equal({ "0" => 1.0, "1" => 1.0 }, m.all("hyperion_worker_starts_total").transform_keys { |l| l["worker"] })
    assert_equal mode == "on" ? 2.0 : 0.0, m["hyperion_io_uring_workers_active"]
    assert_equal 30.0 * length, m["hyperion_response_bytes_total", method: "GET", path: "/"]
  end
end

test "a well-kept client library reads both formats, and finds as much as we do" do
  server = serve_admin
  3.times { server.client.get("/") }
  [[], ["Accept: #{OPEN}"]].each do |accept|
    text = server.client.get("/-/metrics", BEARER, *accept).body
    ours = Exposition.new(text, open: !accept.empty?)
    families, samples = Exposition.by_library(text, open: !accept.empty?)
    assert_equal ours.samples.size, samples
    assert_equal ours.types.size, families
  end
end

test "files, trees of them and what an app was too slow for" do
  folder = open_folder
  File.write(File.join(folder, "big"), "x" * 300_000)
  File.write(File.join(folder, "small"), "x")
  app = File.join(folder, "config.ru")
  File.write(app, <<~RUBY)
    body = Struct.new(:to_path) { def each; yield File.binread(to_path); end }
    run ->(env) { env["PATH_INFO"] == "/slow" ? sleep(1.5) : nil; [200, {}, body.new("#{folder}/big")] }
  RUBY
  server, = serve_counted("-w", 1, "-e", "production", "--admin-token", TOKEN, "--static", "/files=#{folder}",
                          "--max-request-seconds", 1, app)
  client = server.client
  %w[/files/big /files/small /app].each { |path| assert_equal 200, client.get(path).status, path }
  client.write("HEAD /files/big HTTP/1.1\r\nHost: test\r\n\r\n").answer(head: true)
  assert_equal 503, client.get("/slow").status
  m = scrape(server)
  assert_equal 2.0, m["hyperion_sendfile_responses_total"]
  assert_equal 1.0, m["hyperion_overtime_requests_total"]
  assert_equal 2.0, m["hyperion_request_duration_seconds_count", method: "GET", path: "/files/*", status: "2xx"]
  assert_equal 1.0, m["hyperion_request_duration_seconds_count", method: "HEAD", path: "/files/*", status: "2xx"]
  assert_equal 3.0, m["hyperion_requests_total", mode: "static"]
end

test "OpenMetrics for who asks for it" do
  server = serve_admin
  server.client.get("/")
  type = ->(*fields) { server.client.get("/-/metrics", BEARER, *fields).headers["content-type"][/\A[^;]+/] }
  assert_equal "text/plain", type.call
  assert_equal "text/plain", type.call("Accept: text/plain;version=0.0.4, */*;q=0.1")
  assert_equal "application/openmetrics-text", type.call("Accept: #{OPEN};q=0.75,text/plain;version=0.0.4;q=0.5")
  assert_equal "text/plain", type.call("Accept: application/openmetrics-text;q=0, text/plain")
  m = scrape(server, "Accept: #{OPEN}")
  assert_equal "counter", m.types["hyperion_requests"]
  assert_equal 1.0, m["hyperion_request_duration_seconds_count", method: "GET", path: "/", status: "2xx"]
end

test "a HEAD has the length and no body, and what follows on the connection is served" do
  server = serve_admin
  client = server.client
  client.write("HEAD /-/metrics HTTP/1.1\r\nHost: test\r\n#{BEARER}\r\n\r\n" \
               "GET /-/stats HTTP/1.1\r\nHost: test\r\n#{BEARER}\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n")
  assert client.answer(head: true).headers["content-length"].to_i > 1000
  assert_equal server.instance, JSON.parse(client.answer.body)["instance"]
  assert_equal "x", client.answer.body
end

test "clients that leave before their page is written cost nothing" do
  server = serve_admin
  20.times { server.client.tap { |c| c.write("GET /-/metrics HTTP/1.1\r\nHost: test\r\n#{BEARER}\r\n\r\n") }.close }
  # More than it writes at a time wait, are answered 503, or are gone.
  eventually("all to be gone") do
    answer = server.client.get("/-/metrics", BEARER, "Connection: close")
    answer.status == 200 && Exposition.new(answer.body)["hyperion_connections", state: "open"] == 1
  end
  assert_equal 0, server.stop.exitstatus
  refute_match(/Sanitizer|runtime error|killed/, server.log)
end

test "ready says when the server drains" do
  server = serve_admin
  client = server.client
  assert_equal 200, client.get("/-/ready").status
  # Half a request: this connection stays while the others go.
  client.write("GET /-/ready HTTP/1.1\r\nHost: te")
  sleep 0.1
  server.signal(:TERM)
  eventually("the worker to hear of it") { !server.listening? }
  answer = client.write("st\r\n\r\n").answer
  assert_equal [503, "draining\n", true], [answer.status, answer.body, answer.last?]
  client.close
  assert_equal 0, server.wait.exitstatus
end

test "quit stops the server when all is answered" do
  server = serve_admin
  client = server.client
  answer = client.write("POST /-/quit HTTP/1.1\r\nHost: test\r\n#{BEARER}\r\nContent-Length: 2\r\n\r\nhi").answer
  client.close
  assert_equal [202, "stopping\n"], [answer.status, answer.body]
  assert_equal 0, server.wait.exitstatus
  assert_match(/admin: asked to stop over HTTP/, server.log)
end

test "a listener of its own: the pages are there and nowhere else" do
  port = Server.free_port
  server = serve_admin("--admin-listener-port", port)
  at = ->(path, *fields) { Client.new(TCPSocket.new("127.0.0.1", port)).get(path, *fields).status }
  assert_equal [200, 401, 200, 404], [at.call("/-/metrics", BEARER), at.call("/-/metrics"), at.call("/-/ready"), at.call("/")]
  assert_equal 200, server.client.get("/").status
  assert_equal 404, server.client.get("/-/metrics", BEARER).status
  assert_equal 404, server.client.get("/-/stats", BEARER).status
  assert_equal 200, server.client.get("/-/ready").status
end

test "a listener of its own without a token: to look at, not to stop" do
  port = Server.free_port
  serve_counted("-w", 1, "--admin-listener-port", port)
  client = -> { Client.new(TCPSocket.new("127.0.0.1", port)) }
  assert_equal 200, client.call.get("/-/metrics").status
  assert_equal 404, client.call.write("POST /-/quit HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").answer.status
end

test "the token of a file: for others it is not, and Ruby's user need not read it" do
  file = File.join(open_folder, "token")
  File.write(file, "#{TOKEN}\nsecond line\n")
  File.chmod(0o644, file)
  server = Server.start("-w", 1, "--admin-token-file", file, wait: false)
  assert_equal 1, server.wait.exitstatus
  assert_match(/--admin-token-file #{file}: .*others may neither read nor write/, server.log)
  skip "root: the server runs as nobody" if Server::MODE == "nobody"
  File.chmod(0o600, file)
  app = File.join(File.dirname(file), "config.ru")
  File.write(app, "run ->(_) { [200, {}, ['hi']] }")
  server, = serve_counted("-w", 1, "-e", "production", "--user", "nobody", "--admin-token-file", file, app)
  assert_equal "hi", server.client.get.body
  assert_equal 401, server.client.get("/-/metrics").status
  m = eventually("the request") { m = scrape(server); m if m["hyperion_requests_total", mode: "app"] == 1 }
  assert_equal 1.0, m["hyperion_request_queue_seconds_count"]
  assert_equal 1.0, m["hyperion_request_app_seconds_count"]
end

test "settings of a config file, and from the environment" do
  folder = open_folder
  File.write(File.join(folder, "config.ru"), "run ->(_) { [200, {}, ['hi']] }")
  File.write(File.join(folder, "hyperion.rb"), "admin { token 'from-file' }")
  server, = serve_counted("-w", 1, "-e", "production", "-C", File.join(folder, "hyperion.rb"), File.join(folder, "config.ru"))
  assert_equal 200, server.client.get("/-/metrics", "Authorization: Bearer from-file").status
  server = Server.start("-w", 1, env: { "HYPERION_ADMIN_TOKEN" => "from-env" })
  assert_equal 200, server.client.get("/-/metrics", "Authorization: Bearer from-env").status
end
