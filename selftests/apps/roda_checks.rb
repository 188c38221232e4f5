# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What roda.ru has to look like to curl and to Net::HTTP.

require "digest"
require "json"
require "net/http"
require_relative "curl"

class RodaChecks
  # @events: the folder that the app was given as $EVENTS.
  def initialize(label, server, events, inline:)
    @label = label
    @server = server
    @events = events
    @inline = inline
  end

  def define
    routes
    state
    bodies
    events unless @inline
    failures
  end

  private

  def check(name, seconds: 20, &block)
    checks = self
    test("#{name} (#{@label})", seconds: seconds) do
      needs("gems", "rack3")
      checks.instance_exec(&block)
    end
  end

  def curl
    Curl.new(@server.port)
  end

  def net(&block)
    Net::HTTP.start("127.0.0.1", @server.port, nil, read_timeout: 15, &block)
  end

  def routes
    check("the routing tree, JSON out and in") do
      net do |http|
        assert_equal "hello from Roda 3\n", http.get("/").body
        assert_equal({ "id" => 2, "title" => "Don Quijote" }, JSON.parse(http.get("/books/2").body))
        list = http.get("/books")
        assert_equal ["application/json", 2], [list["content-type"], JSON.parse(list.body).size]
        made = http.post("/books", JSON.generate(title: "Ulysses"), "content-type" => "application/json")
        assert_equal ["201", { "title" => "Ulysses", "type" => "application/json" }], [made.code, JSON.parse(made.body)]
        form = http.post("/books", "title=Emma%20%C3%BC")
        assert_equal({ "title" => "Emma ü", "type" => "application/x-www-form-urlencoded" }, JSON.parse(form.body))
      end
    end

    check("redirect, halt, 204, HEAD") do
      assert_equal [303, 200], curl.get("/old", "-L").heads
      assert_equal [404, "no book 9\n"], curl.get("/books/9").then { |a| [a.status, a.body] }
      net do |http|
        assert_equal ["204", nil], http.delete("/gone").then { |a| [a.code, a.body] }
        get = http.get("/books/1")
        head = http.head("/books/1")
        assert_equal [get["content-type"], nil], [head["content-type"], head.body]
        assert_equal "200", http.get("/").code
      end
    end

    check("ETag and Last-Modified") do
      first = curl.get("/cached")
      assert_equal [200, '"abc"'], [first.status, first["etag"]]
      assert_equal [304, ""], curl.get("/cached", "-H", 'if-none-match: "abc"').then { |a| [a.status, a.body] }
      assert_equal 304, curl.get("/cached", "-H", "if-modified-since: #{first["last-modified"]}").status
    end
  end

  def state
    check("an encrypted session") do
      one = curl
      assert_equal(%w[1 2 3], Array.new(3) { one.get("/visits").body })
      assert_equal "1", curl.get("/visits").body
    end

    check("a form with a file of 3 MiB") do
      bytes = Random.new(7).bytes(3 << 20)
      path = File.join(@events, "upload")
      File.binwrite(path, bytes)
      answer = JSON.parse(curl.get("/upload", "-F", "file=@#{path}").body)
      assert_equal({ "name" => "upload", "size" => bytes.bytesize, "sha256" => Digest::SHA256.hexdigest(bytes) }, answer)
    end
  end

  def bodies
    check("a stream, whole, and the connection after it") do
      net do |http|
        answer = http.get("/stream/5000")
        assert_equal Array.new(5000) { |i| "line #{i}\n" }.join, answer.body
        assert_equal "hello from Roda 3\n", http.get("/").body
      end
    end

    check("early hints come as 103 before the answer") do
      answer = curl.get("/hints")
      assert_equal [[103, 200], "hinted\n"], [answer.heads, answer.body]
    end
  end

  def events
    check("an event arrives before the next is made") do
      FileUtils.rm_f(Dir[File.join(@events, "event-*")])
      IO.popen(["curl", "-sSN", "--noproxy", "*", "--max-time", "15", "http://127.0.0.1:#{@server.port}/events/3"]) do |curl|
        3.times do |i|
          assert_equal ["data: #{i}\n", "\n"], [curl.gets, curl.gets]
          FileUtils.touch(File.join(@events, "event-#{i + 1}"))
        end
        assert_equal nil, curl.gets
      end
      assert $?.success?, "curl: #{$?}"
    end
  end

  def failures
    check("errors in the app's own words") do
      assert_equal [500, "sorry: boom\n"], curl.get("/boom").then { |a| [a.status, a.body] }
      assert_equal [404, "no /nowhere\n"], curl.get("/nowhere").then { |a| [a.status, a.body] }
    end
  end
end
