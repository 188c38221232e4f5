#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What a client sees of an exception: a page in development, nothing anywhere else.

require_relative "../procs/app"

RAISING = <<~'RUBY'
  require_relative "lib/shop"
  class Odd < StandardError
    def message = raise("no message")
  end
  run(lambda do |env|
    case env["PATH_INFO"]
    when "/shop" then Shop.new.sell
    when "/bare" then raise "bare"
    when "/markup" then raise ArgumentError, "<script>alert('&\"')</script>\e[2J\0\xff".b
    when "/odd" then raise Odd
    when "/deep" then raise RuntimeError, "deep", ["#{__FILE__}:3:in `x'"] * 1000
    when "/long" then raise "l" * 100_000
    when "/throw" then throw :nobody
    when "/later" then [200, { "content-type" => "text/plain" }, Enumerator.new { |y| y << "x" * 300_000; raise "later" }]
    else [200, { "content-type" => "text/plain" }, ["fine"]]
    end
  end)
RUBY
SHOP = <<~'RUBY'
  class Shop
    def sell
      take("<b>")
    rescue KeyError
      raise TypeError, "cannot sell"
    end

    def take(name)
      {}.fetch(name)
    end
  end
RUBY
BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

def site(environment, *args)
  serve("-w", 1, "-e", environment, *args, files: { "config.ru" => RAISING, "lib/shop.rb" => SHOP })
end

def assert_plain(answer)
  assert_equal [500, "text/plain", "Internal Server Error"], [answer.status, answer.headers["content-type"], answer.body]
end

[5, 0].each do |threads|
  test "a browser gets a page (threads #{threads})", seconds: 30 do
    server = site("development", "-t", threads)
    client = server.client
    answer = client.get("/shop?q=<i>", BROWSER)
    assert_equal [500, "text/html; charset=utf-8"], [answer.status, answer.headers["content-type"]]
    page = answer.body.force_encoding("UTF-8")
    assert page.valid_encoding?
    assert_include page, "<h1>TypeError</h1>\n<pre>cannot sell</pre>"
    assert_include page, "<h1>caused by KeyError</h1>"
    assert_include page, "<code>GET /shop?q=&lt;i&gt; HTTP/1.1</code>"
    # The first line of the app's own is shown with what is around it.
    assert_include page, "#{server.folder}/lib/shop.rb:5\n     1  class Shop\n"
    assert_include page, "<span class=\"hit\">&gt;    5      raise TypeError, &quot;cannot sell&quot;</span>\n     6    end\n"
    assert_include page, "     3      take(&quot;&lt;b&gt;&quot;)\n"
    # Its lines differ from those of gems.
    assert_match(/<span class="app">#{server.folder}\/config\.ru:7:in `block/, page)
    assert_match(/<span class="foreign">\S+\/rack-[\d.]+\/lib\/rack\/lint\.rb:\d+/, page)
    refute_match(/internal:hyperion/, page)
    # It goes on, and the log has the exception as ever.
    assert_equal "fine", client.get("/").body
    assert_match(/error: ruby: TypeError: cannot sell method=GET path=\/shop$/, server.log)
  end
end

test "what comes from app or client is escaped", seconds: 30 do
  server = site("development")
  page = server.client.get("/markup?<script>", BROWSER).body.force_encoding("UTF-8")
  assert page.valid_encoding?
  assert_include page, "<pre>&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;\\x1b[2J\\x00\u{FFFD}</pre>"
  refute_match(/<script/, page)
  refute_match(/[\0-\x08\x0b-\x1f\x7f]/, page)
end

test "who does not ask for HTML gets text", seconds: 30 do
  client = site("development").client
  [[], ["Accept: */*"], ["Accept: application/json"], ["Accept: text/html;q=0, text/plain"]].each do |headers|
    answer = client.get("/shop", *headers)
    assert_equal [500, "text/plain; charset=utf-8"], [answer.status, answer.headers["content-type"]]
    assert_match(%r{\AGET /shop HTTP/1\.1\n\nTypeError: cannot sell\n\n\S+/lib/shop\.rb:5\n}, answer.body)
    assert_include answer.body, ">    5      raise TypeError, \"cannot sell\"\n"
    assert_match(%r{^\* \S+/config\.ru:7:in}, answer.body)
    refute_match(/&lt;|<pre>/, answer.body)
  end
  answer = client.write("HEAD /shop HTTP/1.1\r\nHost: test\r\n#{BROWSER}\r\n\r\n").answer(head: true)
  assert_equal 500, answer.status
  assert answer.headers["content-length"].to_i > 1000
  assert_equal "fine", client.get("/").body
end

test "exceptions that make it hard", seconds: 30 do
  server = site("development")
  client = server.client
  assert_plain client.get("/odd", BROWSER)
  page = client.get("/deep", BROWSER).body
  assert_equal 200, page.scan("config.ru:3:in").size
  assert_include page, "... and 800 more"
  assert client.get("/long", BROWSER).body.bytesize < 20_000
  assert_match(/UncaughtThrowError/, client.get("/throw", BROWSER).body)
  # Behind the head it is too late for a page.
  got = server.client.write("GET /later HTTP/1.1\r\nHost: test\r\n#{BROWSER}\r\n\r\n").rest
  assert_match(/\AHTTP\/1\.1 200 OK/, got)
  refute_match(/later/, got)
end

test "no page where it is not development", seconds: 30 do
  %w[production test staging].each do |environment|
    server = site(environment)
    %w[/shop /bare /markup /odd].each do |path|
      assert_plain server.client.get(path, BROWSER)
      assert_plain server.client.get(path)
    end
    server.kill
  end
end
