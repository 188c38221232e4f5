# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What the app in rails/ has to look like from outside: to curl and to Net::HTTP.
#
#   RailsChecks.new("production", server, folder, development: false, workers: 2, inline: false).define

require "digest"
require "json"
require "net/http"
require "stringio"
require_relative "curl"

class RailsChecks
  MIB = 1 << 20

  # @folder: where this copy of the app runs.
  def initialize(label, server, folder, development:, workers:, inline:)
    @label = label
    @server = server
    @folder = folder
    @development = development
    @workers = workers
    @inline = inline
  end

  def define
    pages
    api
    sessions
    conditional
    uploads
    downloads
    events unless @inline
    failures
    logs
    processes
    reloading if @development
  end

  private

  def check(name, seconds: 20, &block)
    checks = self
    test("#{name} (#{@label})", seconds: seconds) do
      needs("gems", "rails")
      checks.instance_exec(&block)
    end
  end

  def curl
    Curl.new(@server.port)
  end

  # Net::HTTP on one connection.
  def net(&block)
    Net::HTTP.start("127.0.0.1", @server.port, nil, read_timeout: 15, &block)
  end

  def at_once(nr)
    threads = Array.new(nr) do |i|
      Thread.new do
        Thread.current.report_on_exception = false
        yield i
      end
    end
    threads.map(&:value)
  end

  def path(*names)
    File.join(@folder, *names)
  end

  # The token as a browser would find it: in the form.
  def token(page)
    page.body[/name="authenticity_token" value="([^"]+)"/, 1] or flunk("no token in #{page.body}")
  end

  # --- pages ---

  def pages
    check("a page with its layout; a note written by its form is on it") do
      client = curl
      assert_match(%r{<title>About</title>.*<li>Honest</li>.*<a href="/notes">}m, client.get("/about").body)
      page = client.get("/notes")
      assert_equal [200, "text/html; charset=utf-8"], [page.status, page["content-type"]]
      assert_equal page.body.bytesize.to_s, page["content-length"]
      assert_match(%r{\A<!DOCTYPE html>.*<title>\d+ notes?</title>.*<h1>Notes</h1>.*</html>\s*\z}m, page.body)
      answer = client.get("/notes", "--data-urlencode", "note[title]=Grüße & <co> #{@label}", "--data-urlencode", "note[text]=one\n\ntwo",
                          "--data-urlencode", "authenticity_token=#{token(page)}")
      assert_equal 303, answer.status
      shown = client.get(URI(answer["location"]).path)
      assert_match(%r{<p class="notice">written: Grüße &amp; &lt;co&gt; #{@label}</p>}, shown.body.force_encoding("UTF-8"))
      assert_match(%r{<p>one</p>\s*<p>two</p>}, shown.body)
    end

    check("without its token a form is refused") do
      client = curl
      client.get("/notes")
      refused = client.get("/notes", "-d", "note[title]=forged", "-d", "authenticity_token=forged")
      assert_equal 422, refused.status
      refute_match(/forged/, client.get("/api/notes").body)
    end

    check("a redirect, followed on the same connection") do
      answer = curl.get("/old")
      assert_equal [301, "http://127.0.0.1:#{@server.port}/"], [answer.status, answer["location"]]
      followed = curl.get("/old", "-L", "-w", "%{num_connects}")
      assert_equal [301, 200], followed.heads
    end

    check("HEAD has the head of GET and no body") do
      net do |http|
        head = http.head("/versions/5")
        get = http.get("/versions/5")
        assert_equal ["200", nil, get["etag"], get["content-type"]], [head.code, head.body, head["etag"], head["content-type"]]
        assert_equal "version 5\n", get.body
      end
    end

    check("a file of public/ comes from C, in development from Rails' own middleware") do
      answer = curl.get("/robots.txt")
      assert_equal [200, File.binread(path("public/robots.txt"))], [answer.status, answer.body]
      assert_equal @development ? nil : "bytes", answer["accept-ranges"]
    end
  end

  # --- API ---

  def api
    check("JSON in, JSON out, through SQLite") do
      net do |http|
        made = http.post("/api/notes", JSON.generate(title: "ü from #{@label}", text: "x" * 70_000), "content-type" => "application/json")
        assert_equal ["201", "application/json; charset=utf-8"], [made.code, made["content-type"]]
        note = JSON.parse(made.body)
        read = http.get("/api/notes/#{note.fetch("id")}")
        assert_equal note, JSON.parse(read.body)
        assert_equal ["ü from #{@label}", 70_000], [note["title"], note["text"].size]
        assert_include JSON.parse(http.get("/api/notes").body).map { |n| n["id"] }, note["id"]
      end
    end

    check("what the model refuses, what is not there, what is no JSON") do
      net do |http|
        json = { "content-type" => "application/json" }
        refused = http.post("/api/notes", "{}", json)
        assert_equal ["422", ["can't be blank"]], [refused.code, JSON.parse(refused.body)["errors"]["title"]]
        assert_equal "404", http.get("/api/notes/999999").code
        assert_equal "400", http.post("/api/notes", "{", json).code
      end
    end

    check("many clients write and read at once") do
      titles = at_once(8) do |i|
        net do |http|
          Array.new(5) do |j|
            made = http.post("/api/notes", JSON.generate(title: "#{i} #{j} #{@label}"), "content-type" => "application/json")
            assert_equal "201", made.code, made.body[0, 200]
            JSON.parse(http.get("/api/notes/#{JSON.parse(made.body)["id"]}").body)["title"]
          end
        end
      end.flatten
      assert_equal Array.new(8) { |i| Array.new(5) { |j| "#{i} #{j} #{@label}" } }.flatten, titles
    end
  end

  # --- sessions and cookies ---

  def sessions
    check("a session counts for each client of its own, whichever worker answers") do
      one = curl
      two = curl
      assert_equal(["visit 1\n", "visit 2\n", "visit 3\n", "visit 4\n"], Array.new(4) { one.get("/visits").body })
      assert_equal "visit 1\n", two.get("/visits").body
      assert_equal "visit 5\n", one.get("/visits").body
    end

    check("several cookies, one of them signed") do
      client = curl
      first = client.get("/cookies")
      assert_equal %w[plain signed], first.all("set-cookie").map { |c| c[/\A[^=]+/] }.sort
      assert_match(/\Aplain=a\+b; path=\/; httponly/i, first.all("set-cookie").grep(/\Aplain/).first)
      assert_equal "signed 2\n", client.get("/cookies").body
      assert_equal "signed 1\n", curl.get("/cookies", "-H", "cookie: signed=forged--00").body
    end
  end

  # --- conditional requests ---

  def conditional
    check("ETag and Last-Modified: 304, and 200 for another version") do
      first = curl.get("/versions/1")
      assert_equal [200, "version 1\n"], [first.status, first.body]
      same = curl.get("/versions/1", "-H", "if-none-match: #{first["etag"]}")
      assert_equal [304, "", nil, first["etag"]], [same.status, same.body, same["content-length"], same["etag"]]
      assert_equal 200, curl.get("/versions/2", "-H", "if-none-match: #{first["etag"]}").status
      since = curl.get("/versions/1", "-H", "if-modified-since: Wed, 01 Jan 2020 00:00:00 GMT")
      assert_equal [304, "public"], [since.status, since["cache-control"]]
    end

    check("304 does not end the connection") do
      net do |http|
        etag = http.get("/versions/7")["etag"]
        answers = Array.new(3) { http.get("/versions/7", "if-none-match" => etag) }
        assert_equal [%w[304 304 304], [nil]], [answers.map(&:code), answers.map(&:body).uniq]
        assert_equal "version 7\n", http.get("/versions/7").body
      end
    end
  end

  # --- long bodies ---

  def uploads
    check("a form with a file of 20 MiB") do
      bytes = Random.new(20).bytes(20 * MIB)
      File.binwrite(path("tmp/big.bin"), bytes)
      answer = curl.get("/upload", "-F", "note=ü", "-F", "file=@#{path("tmp/big.bin")};type=application/x-big")
      assert_equal 200, answer.status, answer.body[0, 200]
      assert_equal({ "name" => "big.bin", "type" => "application/x-big", "size" => 20 * MIB, "note" => "ü",
                     "sha256" => Digest::SHA256.hexdigest(bytes) }, JSON.parse(answer.body))
    end

    check("the same in chunks, by Net::HTTP") do
      bytes = Random.new(3).bytes(3 * MIB)
      body = "--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n".b + bytes + "\r\n--cut--\r\n".b
      request = Net::HTTP::Post.new("/upload", "content-type" => "multipart/form-data; boundary=cut", "transfer-encoding" => "chunked")
      request.body_stream = StringIO.new(body)
      answer = net { |http| http.request(request) }
      assert_equal [3 * MIB, Digest::SHA256.hexdigest(bytes)], JSON.parse(answer.body).values_at("size", "sha256")
    end

    check("more than config/hyperion.rb allows is refused") do
      File.truncate(path("tmp/big.bin"), 0)
      File.truncate(path("tmp/big.bin"), 33 * MIB)
      assert_equal 413, curl.get("/upload", "-F", "file=@#{path("tmp/big.bin")}").status
    end
  end

  def downloads
    check("a body that is made while it is sent") do
      lines = 200_000
      expected = Digest::SHA256.new
      lines.times { |i| expected << "line #{i} #{"." * (i % 100)}\n" }
      digest = Digest::SHA256.new
      net do |http|
        http.request_get("/numbers?lines=#{lines}") do |answer|
          assert_equal @inline ? nil : "chunked", answer["transfer-encoding"]
          answer.read_body { |piece| digest << piece }
        end
        assert_equal "200", http.get("/robots.txt").code
      end
      assert_equal expected.hexdigest, digest.hexdigest
    end

    check("send_file and send_data") do
      page = File.binread(path("public/404.html"))
      sent = curl.get("/sent")
      assert_equal [200, page, "text/html", page.bytesize.to_s], [sent.status, sent.body, sent["content-type"], sent["content-length"]]
      made = curl.get("/made")
      assert_equal [200, "\x00\x01\xfe\xff".b * 1000, "4000"], [made.status, made.body, made["content-length"]]
      assert_match(/\Aattachment; filename="four thousand.bin"/, made["content-disposition"])
    end
  end

  # --- server-sent events ---

  # What curl has printed so far is what was on the wire. On the I/O thread a body is collected whole.
  def events
    check("ActionController::Live: an event arrives before the next is made") do
      FileUtils.rm_f([path("tmp/event-1"), path("tmp/event-2"), path("tmp/closed")])
      IO.popen(["curl", "-sSN", "--noproxy", "*", "--max-time", "15", "http://127.0.0.1:#{@server.port}/events?count=3"]) do |curl|
        3.times do |i|
          event = Array.new(4) { curl.gets }
          assert_equal ["event: tick\n", "id: #{i}\n", "data: {\"nr\":#{i}}\n", "\n"], event
          FileUtils.touch(path("tmp/event-#{i + 1}"))
        end
        assert_equal nil, curl.gets
      end
      assert $?.success?, "curl: #{$?}"
      eventually("the stream's end") { File.exist?(path("tmp/closed")) && File.read(path("tmp/closed")) == "closed\n" }
    end
  end

  # --- what goes wrong ---

  def failures
    check("an exception") do
      answer = curl.get("/boom")
      assert_equal [500, "text/html"], [answer.status, answer["content-type"][/\A[^;]+/]]
      assert_match(@development ? /ArgumentError.*boom, on purpose/m : /Notebook is sorry/, answer.body)
      refute_match(/on purpose/, answer.body) unless @development
    end

    check("what is not there") do
      [curl.get("/nowhere"), curl.get("/notes/999999")].each do |answer|
        assert_equal 404, answer.status
        assert_match(@development ? /(Routing Error|RecordNotFound)/ : /Notebook has no such page/, answer.body)
      end
    end
  end

  def logs
    check("the request id of the client goes through to the app's log and back") do
      id = "id-#{@label.tr(" ", "-")}"
      assert_equal id, curl.get("/versions/9", "-H", "x-request-id: #{id}")["x-request-id"]
      made = curl.get("/versions/9")["x-request-id"]
      assert_match(/\A[\w-]{8,}\z/, made)
      log = -> { File.read(path("log", @development ? "development.log" : "production.log")) }
      eventually("both in the log") { [id, made].all? { |i| log.call.match?(/\[#{i}\] Started GET "\/versions\/9"/) } }
    end
  end

  def processes
    check("each worker has the database of its own") do
      pids = eventually("an answer of each") do
        @pids = (@pids || []) | Array.new(4) { curl.get("/worker").body }
        @pids if @pids.size == @workers
      end
      assert_equal @workers, pids.size
      assert_equal [200], Array.new(8) { curl.get("/notes").status }.uniq
    end
  end

  # --- development ---

  def reloading
    check("code that changes is loaded anew") do
      assert_equal "version 1\n", curl.get("/versions/1").body
      file = path("app/controllers/pages_controller.rb")
      File.write(file, File.read(file).sub("version \#{", "edition \#{"))
      assert_equal "edition 1\n", curl.get("/versions/1").body
      view = path("app/views/notes/index.html.erb")
      File.write(view, File.read(view).sub("<h1>Notes", "<h1>All notes"))
      assert_match(/<h1>All notes/, curl.get("/notes").body)
    end
  end
end
