# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What bodies.ru has to look like from outside, whatever the settings.
#
#   BodiesChecks.new("production", port, closes, lint: false, rack: 3, inline: false) { log }.define

require "digest"
require "json"
require_relative "http"

class BodiesChecks
  FILE = "line of a file\n" * 20_000
  LETTERS = ("a".."z").to_a.join

  # @closes: the file that the app was given as $CLOSES. @log: a block that reads what was logged.
  def initialize(label, port, closes, lint:, rack:, inline:, &log)
    @label = label
    @port = port
    @closes = closes
    @lint = lint
    @rack = rack
    @inline = inline
    @log = log
    @ids = 0
  end

  def define
    bodies
    closing
    statuses
    headers
    requests
    uploads
    failures
    wrong_answers
    processes
  end

  private

  def check(name, seconds: 10, &block)
    checks = self
    test("#{name} (#{@label})", seconds: seconds) { checks.instance_exec(&block) }
  end

  def get(target, headers = {})
    Http.request(@port, "GET", target, nil, headers)
  end

  def post(target, body, headers = {})
    Http.request(@port, "POST", target, body, headers)
  end

  # An answer that came whole.
  def assert_answer(body, framing, answer, status: 200)
    assert answer, "no answer"
    # The body that Rack 2's Lint wraps around an array does not tell its length.
    framing = answer.framing if framing == :length && @lint && @rack < 3
    # On the I/O thread a body is complete before its first byte leaves.
    framing = :length if framing == :chunked && @inline
    assert_equal [status, body, framing, true], [answer.status, answer.body, answer.framing, answer.whole]
  end

  # A number of its own for a body, and how often that was closed.
  def id = "#{@label.tr(" ", "-")}-#{@ids += 1}"

  def closed(id)
    File.exist?(@closes) ? File.readlines(@closes, chomp: true).count(id) : 0
  end

  # Once it was closed it stays so: a second close would follow at once.
  def assert_closed_once(id)
    eventually("close of #{id}") { closed(id).positive? }
    get("/hello")
    assert_equal 1, closed(id)
  end

  def bodies
    check("an array of one, and of several") do
      assert_answer "hello\n", :length, get("/hello")
      assert_answer "onetwothree", :length, get("/array")
      assert_answer "onetwothree", :length, get("/sized")
    end

    check("nothing, and empty strings") do
      assert_answer "", :length, get("/empty")
      assert_answer "", :length, get("/blank")
    end

    check("a body of each, with and without a length") do
      assert_answer "onetwothree", :chunked, get("/each")
      assert_answer "onetwothree", :length, get("/each_sized")
      assert_answer "onetwo", :chunked, get("/each_blank")
      assert_equal ["", true], get("/each_empty").then { |a| [a.body, a.whole] }
    end

    check("a body of each for HTTP/1.0 ends with the connection") do
      http = Http.new(@port)
      http.write("GET /each HTTP/1.0\r\n\r\n")
      answer = http.answer
      assert_equal ["onetwothree", @inline ? :length : :close], [answer.body, answer.framing]
      assert http.closed?
    end

    check("a file, whole") do
      assert_answer FILE, :length, get("/file")
      answer = get("/file_unsized")
      assert_equal [FILE, true], [answer.body, answer.whole]
      assert_equal ["", true], get("/file_empty").then { |a| [a.body, a.whole] }
    end

    check("many files on one connection") do
      http = Http.new(@port)
      5.times do
        assert_answer FILE, :length, http.ask("GET", "/file")
        assert_answer "hello\n", :length, http.ask("GET", "/hello")
      end
      http.close
    end

    check("20 MiB in pieces, while they are made", seconds: 60) do
      answer = get("/huge?n=320&size=65536")
      expected = Digest::SHA256.new
      320.times { |i| expected << (LETTERS * 2522).byteslice(i % 26, 65_536) }
      assert_equal [320 * 65_536, true], [answer.body.bytesize, answer.whole]
      assert_equal expected.hexdigest, Digest::SHA256.hexdigest(answer.body)
    end

    check("thousands of tiny pieces") do
      answer = get("/huge?n=5000&size=1")
      assert_answer Array.new(5000) { |i| LETTERS[i % 26] }.join, :chunked, answer
    end

    check("one string of 8 MiB", seconds: 30) do
      assert_answer "x" * (8 << 20), :length, get("/big?size=#{8 << 20}")
    end

    check("bytes are bytes") do
      assert_answer "grüße 世界\xff\x00".b, :length, get("/utf8")
    end

    check("a client that reads slowly gets everything", seconds: 30) do
      http = Http.new(@port)
      # More than both sides' socket buffers hold.
      http.send_request("GET", "/huge?n=400&size=65536")
      sleep 0.3
      answer = http.answer
      assert_equal [400 * 65_536, true], [answer.body.bytesize, answer.whole]
    end

    check("answers come in the order of the requests") do
      http = Http.new(@port)
      paths = %w[/sleep?s=0.1 /hello /array /each /file /sleep?s=0.05 /empty /huge?n=3&size=70000 /hello]
      http.write(paths.map { |path| "GET #{path} HTTP/1.1\r\nhost: x\r\n\r\n" }.join)
      answers = paths.map { http.answer }
      assert_equal ["slept\n", "hello\n", "onetwothree", "onetwothree", FILE, "slept\n", "", 210_000, "hello\n"],
                   answers.map { |a| a.body.bytesize == 210_000 ? 210_000 : a.body }
      http.close
    end
  end

  def closing
    %w[each each_sized each_empty each_blank file file_unsized file_empty huge?n=9&size=100000].each do |path|
      check("close is called once: #{path}") do
        name = id
        get("/#{path}#{path.include?("?") ? "&" : "?"}id=#{name}")
        assert_closed_once(name)
      end
    end

    check("close is called once: HEAD, 204, 304") do
      names = [id, id, id, id]
      Http.request(@port, "HEAD", "/each?id=#{names[0]}")
      Http.request(@port, "HEAD", "/file?id=#{names[1]}")
      get("/status?code=204&id=#{names[2]}")
      get("/status?code=304&id=#{names[3]}")
      names.each { |name| assert_closed_once(name) }
    end

    check("close is called once: after an error within each, after a wrong piece") do
      names = [id, id, id, id]
      get("/each_raises?id=#{names[0]}")
      get("/each_raises?after=0&id=#{names[1]}")
      get("/bad_chunk?id=#{names[2]}")
      get("/short?id=#{names[3]}")
      names.each { |name| assert_closed_once(name) }
    end

    check("close is called once, and each is left, when the client goes away", seconds: 30) do
      name = id
      http = Http.new(@port)
      http.send_request("GET", "/huge?n=4000&size=65536&id=#{name}")
      http.socket.readpartial(1000)
      http.close
      assert_closed_once(name)
    end
  end

  def statuses
    check("statuses, also such as have no name") do
      [200, 201, 226, 299, 301, 400, 404, 418, 451, 500, 503, 599].each do |code|
        assert_equal [code, "status #{code}\n"], get("/status?code=#{code}").then { |a| [a.status, a.body] }
      end
    end

    check("204 and 304 have neither body nor length of one") do
      http = Http.new(@port)
      [204, 304].each do |code|
        answer = http.ask("GET", "/status?code=#{code}")
        assert_equal [code, nil, nil], [answer.status, answer["transfer-encoding"], answer["content-length"]]
      end
      assert_answer "hello\n", :length, http.ask("GET", "/hello")
      http.close
    end

    # Lint lets nobody look into the body of an answer to HEAD.
    check("HEAD says what GET would, without the body") do
      http = Http.new(@port)
      %w[/hello /array /sized /each /file /each_sized /big?size=100000].each do |path|
        head = http.ask("HEAD", path)
        assert_equal [200, ""], [head.status, head.body]
        full = http.ask("GET", path)
        assert_equal full["content-length"], head["content-length"], path unless path == "/each" || @lint
      end
      http.close
    end
  end

  def headers
    check("fields of the answer as the app gave them") do
      answer = get("/headers")
      assert_equal %w[a=1 b=2], answer["set-cookie"]
      assert_equal ["", "a  b", "caf\xc3\xa9".b], [answer["x-empty"], answer["x-spaces"], answer["x-high"].b]
      assert_equal "text/plain", answer["content-type"]
    end

    check("Date is there once, the app's own if it gave one") do
      assert_match(/\A\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\z/, get("/hello")["date"])
      assert_equal "Thu, 01 Jan 1970 00:00:00 GMT", get("/date")["date"]
    end

    check("fields for the server only stay here") do
      next unless @rack >= 3 && !@lint

      assert_equal [200, nil], get("/rack_header").then { |a| [a.status, a["rack.private"]] }
    end

    check("the app may close the connection") do
      http = Http.new(@port)
      answer = http.ask("GET", "/close")
      assert_answer "x", :length, answer
      assert_equal "close", answer["connection"]
      assert http.closed?
    end

    check("names in mixed case, where nobody minds") do
      next if @lint

      answer = get("/mixed_case")
      assert_equal [200, "Yes", "text/plain"], [answer.status, answer["x-mixed"], answer["content-type"]]
    end
  end

  def requests
    check("env of a request") do
      env = JSON.parse(get("/env/a%20b/../c?x=1&y=%20", "X-One" => "1", "User-Agent" => "me", "Cookie" => "a=b").body)
      expected = {
        "REQUEST_METHOD" => "GET", "PATH_INFO" => "/env/a%20b/../c", "QUERY_STRING" => "x=1&y=%20", "SCRIPT_NAME" => "",
        "SERVER_PROTOCOL" => "HTTP/1.1", "SERVER_NAME" => "test", "REMOTE_ADDR" => "127.0.0.1", "rack.url_scheme" => "http",
        "HTTP_HOST" => "test", "HTTP_X_ONE" => "1", "HTTP_USER_AGENT" => "me", "HTTP_COOKIE" => "a=b"
      }
      assert_equal expected, env.slice(*expected.keys)
      %w[HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE CONTENT_LENGTH].each { |name| refute env.key?(name), name }
    end

    check("the port and the name of the server come from Host") do
      http = Http.new(@port)
      http.write("GET /env HTTP/1.1\r\nhost: example.org:8080\r\n\r\n")
      env = JSON.parse(http.answer.body)
      assert_equal %w[example.org 8080 example.org:8080], env.values_at("SERVER_NAME", "SERVER_PORT", "HTTP_HOST")
      http.close
    end

    check("fields that come twice are joined") do
      http = Http.new(@port)
      http.write("GET /env HTTP/1.1\r\nhost: x\r\nx-a: 1\r\nX-A: 2\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n")
      env = JSON.parse(http.answer.body)
      assert_match(/\A1, ?2\z/, env["HTTP_X_A"])
      assert_match(/\Aa=1; ?b=2\z/, env["HTTP_COOKIE"])
      http.close
    end

    check("a field with an underscore does not pass for one with a dash") do
      http = Http.new(@port)
      http.write("GET /env HTTP/1.1\r\nhost: x\r\nX_Forwarded_For: fake\r\n\r\n")
      answer = http.answer
      refute_match(/fake/, answer.body) if answer.status == 200
      http.close
    end

    check("every method") do
      http = Http.new(@port)
      %w[GET POST PUT PATCH DELETE OPTIONS PROPFIND].each do |verb|
        env = JSON.parse(http.ask(verb, "/env", verb == "POST" ? "x" : nil).body)
        assert_equal verb, env["REQUEST_METHOD"]
      end
      http.close
    end

    check("one request does not see what another left") do
      http = Http.new(@port)
      http.ask("GET", "/env?a=1", nil, "x-left" => "behind")
      env = JSON.parse(http.ask("POST", "/env", "abc", "content-type" => "text/x").body)
      assert_equal [nil, "", "3", "text/x"], env.values_at("HTTP_X_LEFT", "QUERY_STRING", "CONTENT_LENGTH", "CONTENT_TYPE")
      env = JSON.parse(http.ask("GET", "/env").body)
      assert_equal [nil, nil], env.values_at("CONTENT_LENGTH", "CONTENT_TYPE")
      http.close
    end
  end

  def uploads
    check("an upload comes back as it was") do
      text = "grüße\0\xff\r\n".b * 100
      assert_answer text, :length, post("/echo", text, "content-type" => "a/b")
      assert_answer text, :length, post("/echo", [text[0, 7], text[7..]], "content-type" => "a/b")
      assert_answer "", :length, post("/echo", "")
    end

    [1, 16_384, 65_535, 65_536, 65_537, 1_000_000, 10_000_000].each do |size|
      check("an upload of #{size} bytes", seconds: 30) do
        bytes = Random.new(size).bytes(size)
        expected = "#{size} #{Digest::SHA256.hexdigest(bytes)}\n"
        assert_answer expected, :length, post("/digest", bytes)
        assert_answer expected, :length, post("/digest", bytes.scan(/.{1,30000}/mn))
        assert_answer expected, :length, post("/digest?step=100", bytes) if size < 100_000
      end
    end

    check("every way to read it") do
      [["ab\ncd\nef", {}], ["ab\ncd\nef\n#{"x" * 100_000}\nlast", {}]].each do |text, _|
        lines = text.lines
        assert_equal [*lines, nil], JSON.parse(post("/input?by=gets", text).body)
        assert_equal lines, JSON.parse(post("/input?by=each", text).body)
        assert_equal [text, "", nil], JSON.parse(post("/input?by=read_nil", text).body)
        assert_equal [text[0, 3], "", text[3..], nil], JSON.parse(post("/input?by=read_n", text).body)
        assert_equal [true, text[0, 4]], JSON.parse(post("/input?by=buffer", text).body)
        first, again = JSON.parse(post("/input?by=rewind", text).body)
        assert_equal text[0, 2], first
        assert_equal text, again if again || !@lint
      end
    end

    check("what nobody reads does not disturb the next request") do
      http = Http.new(@port)
      [10, 70_000, 1_000_000].each do |size|
        assert_answer "[]", :length, http.ask("POST", "/input?by=none", "x" * size)
        assert_answer "hello\n", :length, http.ask("GET", "/hello")
      end
      http.close
    end

    check("Expect: 100-continue") do
      http = Http.new(@port)
      http.write("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
      assert_equal 100, http.answer.status
      http.write("abc")
      assert_answer "abc", :length, http.answer
      http.close
    end
  end

  def failures
    %w[RuntimeError NotImplementedError NoMemoryError SecurityError Interrupt SignalException ScriptError].each do |name|
      next if name == "SignalException" # wants a signal's name

      check("an exception is a 500, and the next request is served: #{name}") { assert_failure("/raise?class=#{name}", name) }
    end

    check("ways out of a handler are a 500: throw, recursion, exit, a dead thread, a fiber's yield", seconds: 20) do
      assert_failure("/throw", "UncaughtThrowError")
      assert_failure("/stack", "SystemStackError")
      assert_failure("/exit", "SystemExit")
      assert_failure("/fiber", "FiberError")
    end

    check("an error before the first byte of a body is a 500") do
      assert_equal 500, get("/each_raises?after=0").status
    end

    check("an error after the first byte cuts the body") do
      answer = get("/each_raises?after=1")
      refute answer&.whole && answer.status == 200
      assert_answer "hello\n", :length, get("/hello")
    end

    check("an error in close comes too late for the answer") do
      assert_equal [200, "one"], get("/close_raises").then { |a| [a.status, a.body] }
      assert_answer "hello\n", :length, get("/hello")
    end

    check("a body that is not as long as was said") do
      answer = get("/short")
      refute answer&.whole && answer.status == 200
      http = Http.new(@port)
      answer = http.ask("GET", "/long")
      # Never more than was said; what follows must not pass for the next answer.
      assert answer.nil? || answer.status == 500 || answer.body.bytesize <= 5
      assert http.closed? if answer&.status == 200
      http.close
    end

    check("a file that is not there") do
      answer = get("/file_gone")
      refute answer&.status == 200 && answer.whole && !answer.body.empty?
      assert_answer "hello\n", :length, get("/hello")
    end

    check("rack.errors reaches the log") do
      get("/errors")
      eventually("the line") { @log.call.include?("said to rack.errors") } if @log
    end
  end

  # 500, one entry in the log that names the class, and the worker lives.
  def assert_failure(path, name)
    pid = get("/pid").body
    before = @log ? @log.call.scan(name).size : 0
    answer = get(path)
    assert_equal 500, answer&.status
    refute_match(/on purpose/, answer.body) unless @lint
    eventually("#{name} in the log") { @log.call.scan(name).size > before } if @log
    assert_answer pid, :length, get("/pid")
  end

  WRONG = %w[nil string two status status_small status_big headers body body_nil array_nil name_empty].freeze
  # Not in the spec, but what they mean is plain.
  LENIENT = %w[header_name header_value].freeze
  # Must not leave, whatever becomes of the rest.
  STOLEN = %w[cr crlf nul name_space name_colon name_crlf].freeze

  def wrong_answers
    WRONG.each do |which|
      check("an answer that is none is a 500: #{which}") do
        answer = get("/bad/#{which}")
        # What is wrong with a body may show only when it is sent.
        late = %w[body body_nil array_nil].include?(which)
        assert answer&.status == 500 || (late && !answer&.whole), "got #{answer.inspect}"
        assert_answer "hello\n", :length, get("/hello")
      end
    end

    %w[length length_negative].each do |which|
      check("a length that is none is put right, or refused: #{which}") do
        answer = get("/bad/#{which}")
        refute_match(/5, 6|-5/, answer.raw)
        assert answer.status == 500 || !answer.whole || answer.body == "stole", answer.inspect
        assert_answer "hello\n", :length, get("/hello")
      end
    end

    LENIENT.each do |which|
      check("a number in place of a text is taken as one, or refused: #{which}") do
        assert_include [200, 500], get("/bad/#{which}")&.status
        assert_answer "hello\n", :length, get("/hello")
      end
    end

    STOLEN.each do |which|
      check("nothing is smuggled into the head: #{which}") do
        answer = get("/bad/#{which}")
        refute_match(/stolen/, answer.raw) if answer
        refute_match(/[\0]|\r[^\n]|[^\r]\n/, answer.raw) if answer
        assert_answer "hello\n", :length, get("/hello")
      end
    end
  end

  def processes
    check("a child of the app does not keep the connection open", seconds: 20) do
      name = id
      http = Http.new(@port)
      child = http.ask("GET", "/fork?id=#{name}", nil, "connection" => "close").body.to_i
      assert child.positive?
      assert http.closed?, "the connection stays open with the child"
      File.write("#{@closes}.#{name}", "")
    end

    check("a handler that forks and goes on in the child serves nobody there", seconds: 20) do
      answer = get("/fork_plain")
      assert_equal 200, answer.status
      assert_match(/child ended with /, answer.body)
      refute_match(/from the child/, answer.body)
    end

    check("a handler runs a command") do
      assert_answer "echo from a shell\n3".sub("echo ", ""), :length, get("/system")
    end

    check("after a GC and a compaction everything is as before") do
      3.times { get("/gc") }
      assert_answer "onetwothree", :chunked, get("/each")
      assert_answer FILE, :length, get("/file")
      assert_equal "1", JSON.parse(get("/env", "x-one" => "1").body)["HTTP_X_ONE"]
    end
  end
end
