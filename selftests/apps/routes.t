#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Hyperion::Server.handle and handle_static: routes that an app puts in front of itself.

require_relative "../procs/app"

ROUTES = <<~'RUBY'
  Hyperion::Server.handle_static(:GET, "/health", "OK\n", content_type: "text/x-health")
  Hyperion::Server.handle_static("post", "/health", "posted")
  Hyperion::Server.handle_static(:GET, "/twice", "first")
  Hyperion::Server.handle_static(:GET, "/twice", "second")
  Hyperion::Server.handle_static(:GET, "/empty", "")
  Hyperion::Server.handle_static(:GET, "/large", "x" * 3_000_000)
  Hyperion::Server.handle(:GET, "/direct", ->(rq) { [200, { "content-type" => "text/x-direct" }, ["#{rq.class} #{rq.method}"]] })
  Hyperion::Server.handle(:DELETE, "/direct", ->(_rq) { [204, {}, []] })
  Hyperion::Server.handle(:GET, "/raise", ->(_rq) { raise KeyError, "gone" })
  Hyperion::Server.handle(:GET, "/late", ->(_rq) { [200, {}, Enumerator.new { |y| y << "x" * 300_000; raise "late" }] })
  Hyperion::Server.handle(:GET, "/odd", ->(_rq) { 5 })
  Hyperion::Server.handle(:GET, "/stream", ->(_rq) { [200, {}, Enumerator.new { |y| 3.times { |i| y << "#{i} " } }] })
  Hyperion::Server.handle(:GET, "/to_static", ->(_rq) { [200, {}, ["was direct"]] })
  Hyperion::Server.handle_static(:GET, "/to_static", "is static")
  show = lambda do |rq|
    facts = { method: rq.method, path: rq.path, query: rq.query_string, version: rq.http_version, peer: rq.peer_address,
              headers: rq.headers, body: rq.body, host: rq.header("HOST"), again: rq.header("X-Two") }
    [200, {}, [facts.inspect]]
  end
  %w[GET POST PUT PATCH OPTIONS].each { |verb| Hyperion::Server.handle(verb.to_sym, "/show", show) }
  $kept = []
  Hyperion::Server.handle(:POST, "/keep", ->(rq) { $kept << rq; [200, {}, ["kept"]] })
RUBY

def serve_routes(threads, *args, before: "", **how)
  serve("-w", 1, "-t", threads, *args, files: { "config.ru" => before + ROUTES + EVAL }, **how)
end

def ask(client, verb, path, *headers, body: nil)
  headers += ["Content-Length: #{body.bytesize}"] if body
  client.write("#{verb} #{path} HTTP/1.1\r\nHost: test\r\n#{headers.map { |h| "#{h}\r\n" }.join}\r\n#{body}")
  client.answer(head: verb == "HEAD" || verb == "DELETE")
end

on_threads "constants: HEAD, other methods, the last one counts, what has no route is the app's" do |threads|
  server = serve_routes(threads)
  client = server.client
  answer = client.get("/health")
  assert_equal [200, "text/x-health", "OK\n"], [answer.status, answer.headers["content-type"], answer.body]
  head = ask(client, "HEAD", "/health")
  assert_equal answer.headers.except("date"), head.headers.except("date")
  assert_equal "posted", ask(client, "POST", "/health", body: "ignored").body
  assert_equal "second", client.get("/twice").body
  assert_equal "is static", client.get("/to_static").body
  assert_equal ["0", ""], client.get("/empty").then { |a| [a.headers["content-length"], a.body] }
  2.times { assert_equal "x" * 3_000_000, client.get("/large").body }
  assert_equal "text/plain", client.get("/twice?a=b").headers["content-type"]
  # Another method, another path: the app, which evaluates.
  assert_equal "42", ask(client, "PUT", "/health", body: "6 * 7").body
  assert_equal "PUT", ask(client, "PUT", "/health", body: "env['REQUEST_METHOD']").body
  assert_equal "/health/", ask(client, "POST", "/health/", body: "env['PATH_INFO']").body
end

on_threads "handlers: their answers are the app's kind, and they know nothing of middleware" do |threads|
  server = serve_routes(threads, before: "use(Class.new { def initialize(app) = (@app = app); def call(env) = @app.call(env).tap { |a| a[1]['x-wrapped'] = '1' } })\n")
  client = server.client
  answer = client.get("/direct")
  assert_equal [200, "text/x-direct", "Hyperion::Request GET", nil],
               [answer.status, answer.headers["content-type"], answer.body, answer.headers["x-wrapped"]]
  assert_equal "1", ask(client, "POST", "/direct", body: "1").headers["x-wrapped"]
  head = ask(client, "HEAD", "/direct")
  assert_equal [200, "22"], [head.status, head.headers["content-length"]]
  assert_equal 204, ask(client, "DELETE", "/direct").status
  client.write("GET /stream HTTP/1.1\r\nHost: test\r\n\r\nGET /direct HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
  got = client.rest
  assert_equal "0 1 2 ", got[/\r\n\r\n(.*?)HTTP/m, 1].gsub(/\h+\r\n|\r\n/, "")
  assert_match(/Hyperion::Request GET\z/, got)
end

on_threads "what a request says, during the call and for as long as it is kept" do |threads|
  server = serve_routes(threads)
  client = server.client
  shown = Kernel.eval(client.get("/show?a=b%20c&d", "X-Two: 1", "x-two: 2", "Cookie: a=1", "Cookie: b=2").body)
  assert_equal ["GET", "/show", "a=b%20c&d", "HTTP/1.1", "127.0.0.1", "", "test", "1, 2"],
               shown.values_at(:method, :path, :query, :version, :peer, :body, :host, :again)
  assert_equal({ "host" => "test", "x-two" => "1, 2", "cookie" => "a=1; b=2" }, shown[:headers])
  shown = Kernel.eval(ask(client, "PATCH", "/show", body: "\xff\0\n".b).body.force_encoding("BINARY"))
  assert_equal ["PATCH", "\xff\0\n".b, "3"], [shown[:method], shown[:body].b, shown[:headers]["content-length"]]
  large = Random.new(1).bytes(300_000) # in a file
  assert_equal large.inspect.size, Kernel.eval(ask(client, "PUT", "/show", body: large).body)[:body].inspect.size
  old = server.client.write("GET /show HTTP/1.0\r\n\r\n").answer
  assert_include old.body, ':version=>"HTTP/1.0"'
  3.times { |i| ask(client, "POST", "/keep?#{i}", "X-I: #{i}", body: "body #{i}") }
  100.times { client.get("/direct") }
  kept = server.eval("GC.start; $kept.map { |rq| [rq.method, rq.path, rq.query_string, rq.header('x-i'), rq.body, rq.peer_address] }.inspect")
  assert_equal (0..2).map { |i| ["POST", "/keep", i.to_s, i.to_s, "body #{i}", "127.0.0.1"] }, Kernel.eval(kept)
end

on_threads "handlers that fail: 500 and a line with the path, and on it goes" do |threads|
  server = serve_routes(threads)
  client = server.client
  assert_equal 500, client.get("/raise").status
  assert_equal 500, client.get("/odd").status
  assert_match(%r{error: ruby: KeyError: gone method=GET path=/raise$}, server.log)
  assert_match(%r{the app's answer is not \[status, headers, body\] method=GET path=/odd$}, server.log)
  cut = server.client.write("GET /late HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").rest
  assert_match(threads.zero? ? /\AHTTP\/1\.1 500/ : /\AHTTP\/1\.1 200/, cut)
  assert_match(%r{error: ruby: RuntimeError: late method=GET path=/late$}, server.log)
  assert_equal 200, client.get("/direct").status
end

on_threads "registered by a handler: there for the very next request, in this worker alone" do |threads|
  server = serve_routes(threads, "-w", 2)
  pids = server.workers_by_index.values
  20.times do |i|
    client = server.client
    client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 72\r\n\r\n" +
                 "Hyperion::Server.handle_static(:GET, '/new#{i}', '#{i}'); Process.pid".ljust(72))
    pid = client.answer.body.to_i
    assert_include pids, pid
    assert_equal i.to_s, client.get("/new#{i}").body, "the same connection, so the same worker"
    ask(client, "POST", "/", body: "Hyperion::Server.handle(:GET, '/new#{i}', ->(rq) { [200, {}, ['now ' + rq.path]] })")
    assert_equal "now /new#{i}", client.get("/new#{i}").body
  end
  # Who never registered it asks the app, which evaluates nothing for GET.
  other = pids - [server.eval("Hyperion::Server.handle_static(:GET, '/alone', 'here'); Process.pid").to_i]
  answers = Array.new(60) { server.client.then { |c| [c.get("/alone").body, ask(c, "POST", "/", body: "Process.pid").body.to_i] } }
  answers.each { |body, pid| assert_equal other.include?(pid) ? "" : "here", body }
end

test "a handler's stream, its connection, a file", seconds: 30 do
  server = serve_routes(2, before: <<~'RUBY')
    Hyperion::Server.handle(:GET, "/call", ->(_) { [200, {}, ->(s) { s << "called"; s.close }] })
    Hyperion::Server.handle(:GET, "/take", ->(_) { [200, { "rack.hijack" => ->(io) { io << "taken"; io.close } }, []] })
    Hyperion::Server.handle(:GET, "/file", ->(_) { [200, {}, File.open(__FILE__)] })
    Hyperion::Server.handle(:GET, "/kill", ->(_) { Thread.current.kill })
  RUBY
  called = server.client.write("GET /call HTTP/1.0\r\n\r\n").rest
  assert_match(/\r\n\r\ncalled\z/, called)
  assert_match(/\r\n\r\ntaken\z/, server.client.write("GET /take HTTP/1.1\r\nHost: test\r\n\r\n").rest)
  assert_equal server.read("config.ru"), server.client.get("/file").body
  2.times { assert_equal 500, server.client.get("/kill").status }
  assert_equal 200, server.client.get("/direct").status
end

test "registered by threads of the app at any time, requests under way or not", seconds: 60 do
  server = serve_routes(5)
  stop = false
  asking = Array.new(3) { Thread.new { client = server.client; nr = 0; (assert_equal "OK\n", client.get("/health").body; nr += 1) until stop; nr } }
  wrong = server.eval(<<~'RUBY')
    threads = Array.new(8) { |t| Thread.new { 25.times { |i| Hyperion::Server.handle_static(:GET, "/t#{t}/#{i}", "#{t} #{i}") } } }
    threads.each(&:join).size
  RUBY
  stop = true
  assert asking.map(&:value).all?(&:positive?)
  assert_equal "8", wrong
  client = server.client
  8.times { |t| 25.times { |i| assert_equal "#{t} #{i}", client.get("/t#{t}/#{i}").body } }
  # 256 is what a table holds.
  full = server.eval("n = 0; begin; loop { Hyperion::Server.handle_static(:GET, \"/full\#{n += 1}\", '') }; rescue ArgumentError => e; e.message; end")
  assert_match(%r{\Apath "/full\d+": there are too many routes\z}, full)
  assert_equal "OK\n", client.get("/health").body
end

test "where it may be said: config file, config.ru, hooks, and what comes later is the last", seconds: 40 do
  config = <<~RUBY
    Hyperion::Server.handle_static(:GET, "/config", "config file")
    Hyperion::Server.handle_static(:GET, "/both", "config file")
    before_fork { Hyperion::Server.handle_static(:GET, "/before", "before_fork") }
    on_worker_boot { |i| Hyperion::Server.handle(:GET, "/boot", ->(_rq) { [200, {}, ["boot \#{i}"]] }) }
  RUBY
  [[], ["--no-preload"], ["-t", 0]].each do |args|
    server = serve("-w", 1, "-C", "h.rb", *args,
                   files: { "h.rb" => config, "config.ru" => "Hyperion::Server.handle_static(:GET, '/both', 'config.ru')\n#{EVAL}" })
    client = server.client
    assert_equal ["config file", "config.ru", "before_fork", "boot 0"], %w[/config /both /before /boot].map { |p| client.get(p).body }
    old = server.worker
    Process.kill(:KILL, old)
    server.other_worker(old)
    client = server.client
    assert_equal ["config file", "config.ru", "before_fork", "boot 0"], %w[/config /both /before /boot].map { |p| client.get(p).body }
    client.close
    server.stop
  end
end

test "what is wrong is named", seconds: 30 do
  server = serve_routes(1)
  {
    "handle(:TRACE, '/a', ->(_) {})" => /\Amethod :TRACE: allowed are GET, POST, PUT, DELETE, HEAD, PATCH, OPTIONS\z/,
    "handle(nil, '/a', ->(_) {})" => /\Amethod nil: /,
    "handle_static(:CONNECT, '/a', '')" => /\Amethod :CONNECT: /,
    "handle(:GET, 'a', ->(_) {})" => /\Apath "a": a String that starts with/,
    "handle(:GET, '', ->(_) {})" => /\Apath "": /,
    "handle(:GET, nil, ->(_) {})" => /\Apath nil: /,
    "handle(:GET, '/a?b', ->(_) {})" => %r{\Apath "/a\?b": },
    "handle(:GET, \"/a\\n\", ->(_) {})" => %r{\Apath "/a\\n": },
    "handle_static(:GET, \"/a\\0\", '')" => %r{\Apath "/a\\(x00|u0000)": },
    "handle(:GET, '/a', 7)" => /\Ahandler 7 has no method call\z/,
    "handle(:GET, '/a', nil)" => /\Ahandler nil has no method call\z/,
    "handle_static(:GET, '/a', 7)" => /\Abody 7 is no String\z/,
    "handle_static(:GET, '/a', '', content_type: \"a\\r\\nb: c\")" => /\Acontent_type "a\\r\\nb: c" is no header value\z/,
  }.each do |call, message|
    assert_match message, server.eval("begin; Hyperion::Server.#{call}; 'nothing was raised'; rescue ArgumentError => e; e.message; end")
  end
  assert_equal "1", server.client.write("GET /a HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n1").answer.body
end

on_threads "a handler's request costs two objects" do |threads|
  server = serve_routes(threads, before: <<~'RUBY')
    ANSWER = [200, { "content-type" => "text/plain" }.freeze, ["hello"].freeze].freeze
    Hyperion::Server.handle(:GET, "/hello", ->(_rq) { ANSWER })
    Hyperion::Server.handle(:GET, "/allocated", ->(_rq) { [200, {}, [GC.stat(:total_allocated_objects).to_s]] })
  RUBY
  client = server.client
  client.get("/allocated")
  before = client.get("/allocated").body.to_i
  100.times do
    client.write("GET /hello HTTP/1.1\r\nHost: test\r\nX-Y: z\r\n\r\n" * 10)
    10.times { assert_equal "hello", client.answer.body }
  end
  each = (client.get("/allocated").body.to_i - before) / 1000.0
  assert each < 2.5, "#{each} objects for each of 1000 requests"
end

on_threads "observers are told of handlers, without an env" do |threads|
  server = serve_routes(threads, before: <<~'RUBY')
    $seen = []
    Hyperion::Runtime.default.on_request_start { |rq, env| $seen << [:start, rq.path, env.class] if rq.path != "/" }
    Hyperion::Runtime.default.on_request_end { |rq, env, answer, error| $seen << [:end, rq.path, env, answer&.first, error.class] if rq.path != "/" }
  RUBY
  client = server.client
  client.get("/direct")
  client.get("/raise")
  client.get("/health")
  client.get("/app")
  seen = -> { server.eval("$seen.inspect") }
  eventually("the last of them") { seen.call.include?(':end, "/app"') }
  assert_include seen.call, '[:start, "/direct", NilClass], [:end, "/direct", nil, 200, NilClass]'
  assert_include seen.call, '[:start, "/raise", NilClass], [:end, "/raise", nil, nil, KeyError]'
  assert_include seen.call, '[:start, "/app", Hash]'
  refute_match(/health/, seen.call)
end

test "a child that the app forks registers nothing with its parent", seconds: 30 do
  server = serve_routes(2)
  status = server.eval("pid = fork { Hyperion::Server.handle_static(:GET, '/child', 'no'); exit!(7) }; Process.wait2(pid).last.exitstatus")
  assert_equal "7", status
  assert_equal "", server.client.get("/child").body
end
