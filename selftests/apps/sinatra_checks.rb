# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What sinatra.ru has to look like from outside.

require "json"
require "net/http"
require_relative "curl"
require_relative "http"

class SinatraChecks
  # @events: the folder that the app was given as $EVENTS.
  def initialize(label, port, events, inline:)
    @label = label
    @port = port
    @events = events
    @inline = inline
  end

  def define
    pages
    forms
    sessions
    events unless @inline
    failures
  end

  private

  def check(name, seconds: 10, &block)
    checks = self
    test("#{name} (#{@label})", seconds: seconds) { checks.instance_exec(&block) }
  end

  def ask(verb, target, body = nil, headers = {})
    answer = Http.request(@port, verb, target, body, headers)
    assert answer&.whole, "#{verb} #{target}: #{answer.inspect}"
    answer
  end

  def pages
    check("a route, with a parameter and a template") do
      assert_equal "hello from Sinatra 4\n", ask("GET", "/").body
      answer = ask("GET", "/list/tools?items=saw,axe")
      assert_equal "<h1>tools</h1><ul><li>saw<li>axe</ul>\n", answer.body
      assert_equal "text/html;charset=utf-8", answer["content-type"]
      assert_equal answer.body.bytesize.to_s, answer["content-length"]
    end

    check("names in the path are decoded") do
      assert_equal "<h1>a b ü</h1><ul></ul>\n".b, ask("GET", "/list/a%20b%20%C3%BC").body
    end

    check("redirect, halt, pass, 204, 304") do
      answer = ask("GET", "/redirect")
      assert_equal [303, "http://test/"], [answer.status, answer["location"]]
      answer = ask("GET", "/halt")
      assert_equal [418, "tea", "short and stout\n"], [answer.status, answer["x-pot"], answer.body]
      assert_equal "passed\n", ask("GET", "/pass/me").body
      assert_equal [204, ""], ask("DELETE", "/gone").then { |a| [a.status, a.body] }
      assert_equal [200, '"abc"'], ask("GET", "/cached").then { |a| [a.status, a["etag"]] }
      assert_equal 304, ask("GET", "/cached", nil, "if-none-match" => '"abc"').status
    end

    check("files: sent by the app, by its public folder, and in part") do
      source = File.binread(File.join(__dir__, "sinatra.ru"))
      answer = ask("GET", "/file")
      assert_equal [source, "text/x-ruby;charset=utf-8"], [answer.body, answer["content-type"]]
      assert_equal ["body { color: green }\n", "text/css;charset=utf-8"], ask("GET", "/style.css").then { |a| [a.body, a["content-type"]] }
      part = ask("GET", "/file", nil, "range" => "bytes=5-14")
      assert_equal [206, source[5..14]], [part.status, part.body]
      assert_equal ["", source.bytesize.to_s], ask("HEAD", "/file").then { |a| [a.body, a["content-length"]] }
    end

    check("a stream") { assert_equal "part 0\npart 1\npart 2\n", ask("GET", "/stream").body }
  end

  def forms
    check("a form") do
      answer = ask("POST", "/form?x=1", "a=1&b[]=2&b[]=3&c%20d=%C3%BC", "content-type" => "application/x-www-form-urlencoded")
      assert_equal({ "x" => "1", "a" => "1", "b" => %w[2 3], "c d" => "ü" }, JSON.parse(answer.body))
    end

    check("a form with a file, small and beyond what stays in memory") do
      [20, 300_000].each do |size|
        body = ["--cut", 'content-disposition: form-data; name="note"', "", "hi", "--cut",
                'content-disposition: form-data; name="file"; filename="a b.txt"', "content-type: text/x", "", "z" * size,
                "--cut--", ""].join("\r\n")
        answer = ask("POST", "/upload", body, "content-type" => "multipart/form-data; boundary=cut")
        expected = { "filename" => "a b.txt", "type" => "text/x", "size" => size, "text" => "z" * 20, "note" => "hi" }
        assert_equal expected, JSON.parse(answer.body)
      end
    end

    check("a body that is read") { assert_equal "olleh", ask("PUT", "/body", "hello").body }
  end

  def sessions
    check("a session goes along with its cookie, one after the other and many at once") do
      cookie = nil
      assert_equal(%w[1 2 3], Array.new(3) do
        answer = ask("GET", "/visits", nil, cookie ? { "cookie" => cookie } : {})
        cookie = answer["set-cookie"][/\A[^;]+/]
        answer.body
      end)
      assert_equal ["1"], Array.new(8) { Thread.new { ask("GET", "/visits").body } }.map(&:value).uniq
    end
  end

  # What curl has printed so far is what was on the wire.
  def events
    check("an event arrives before the next is made", seconds: 20) do
      FileUtils.rm_f(Dir[File.join(@events, "event-*")])
      IO.popen(["curl", "-sSN", "--noproxy", "*", "--max-time", "15", "http://127.0.0.1:#{@port}/events"]) do |curl|
        3.times do |i|
          assert_equal ["data: #{i}\n", "\n"], [curl.gets, curl.gets]
          FileUtils.touch(File.join(@events, "event-#{i + 1}"))
        end
        assert_equal nil, curl.gets
      end
      assert $?.success?, "curl: #{$?}"
    end

    check("what other clients see: curl's form and cookies, Net::HTTP's connection", seconds: 20) do
      client = Curl.new(@port)
      assert_equal(["seen \n", "seen 1\n", "seen 2\n"], Array.new(3) { client.get("/cookies").body })
      File.binwrite(File.join(@events, "a b.txt"), "z" * 300_000)
      posted = client.get("/upload", "-F", "note=hi", "-F", "file=@#{File.join(@events, "a b.txt")};type=text/x")
      assert_equal({ "filename" => "a b.txt", "type" => "text/x", "size" => 300_000, "text" => "z" * 20, "note" => "hi" }, JSON.parse(posted.body))
      assert_equal [303, 200], client.get("/redirect", "-L").heads
      Net::HTTP.start("127.0.0.1", @port, nil) do |http|
        assert_equal 'attachment; filename="report.txt"', http.get("/attachment")["content-disposition"]
        assert_equal "part 0\npart 1\npart 2\n", http.get("/stream").body
        assert_equal ["304", nil], http.get("/cached", "if-none-match" => '"abc"').then { |a| [a.code, a.body] }
        assert_equal "olleh", http.put("/body", "hello", "content-type" => "text/plain").body
      end
    end
  end

  def failures
    check("errors in the app's own words") do
      assert_equal [500, "sorry: boom\n"], ask("GET", "/boom").then { |a| [a.status, a.body] }
      assert_equal [404, "no /nowhere\n"], ask("GET", "/nowhere").then { |a| [a.status, a.body] }
      assert_equal 404, ask("POST", "/").status
    end
  end
end
