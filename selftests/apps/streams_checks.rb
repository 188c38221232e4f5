# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What streams.ru has to look like from outside.

require "net/http"
require_relative "curl"
require_relative "http"

class StreamsChecks
  # @notes: the folder that the app was given as $NOTES.
  def initialize(label, server, notes)
    @label = label
    @server = server
    @notes = notes
    @ids = 0
  end

  def define
    calls
    hijacks
    hints
    finished
  end

  private

  def check(name, seconds: 20, &block)
    checks = self
    test("#{name} (#{@label})", seconds: seconds) do
      needs("gems", "rack3")
      checks.instance_exec(&block)
    end
  end

  def id
    "note-#{@ids += 1}"
  end

  def note(name)
    path = File.join(@notes, name)
    eventually("what the app says of #{name}", seconds: 10) { File.exist?(path) && File.read(path)[/.*\n\z/m] }
  end

  def touch(name)
    FileUtils.touch(File.join(@notes, name))
  end

  def net(&block)
    Net::HTTP.start("127.0.0.1", @server.port, nil, read_timeout: 15, &block)
  end

  # Goes away while the answer is on its way.
  def leave(target)
    @server.connect do |socket|
      socket.write("GET #{target} HTTP/1.1\r\nhost: test\r\n\r\n")
      socket.readpartial(10)
    end
  end

  def calls
    check("a body that answers call: each piece when it is written") do
      FileUtils.rm_f(Dir[File.join(@notes, "tick-*")])
      IO.popen(["curl", "-sSN", "--noproxy", "*", "--max-time", "15", "http://127.0.0.1:#{@server.port}/ticks"]) do |curl|
        3.times do |i|
          assert_equal ["data: #{i}\n", "\n"], [curl.gets, curl.gets]
          touch("tick-#{i + 1}")
        end
        assert_equal nil, curl.gets
      end
      assert $?.success?, "curl: #{$?}"
    end

    check("much of it, whole, and the connection goes on") do
      net do |http|
        2.times do
          assert_equal Array.new(1000) { |i| "#{i} #{"y" * 1000}\n" }.join, http.get("/large").body
        end
      end
    end

    check("written by another thread, while this one answers others") do
      FileUtils.rm_f(File.join(@notes, "handed"))
      slow = Thread.new { net { |http| http.get("/handed_over").body } }
      10.times { assert_equal "hinted\n", net { |http| http.get("/hints").body } }
      touch("handed")
      assert_equal "from another thread\n", slow.value
    end

    check("a client that leaves: write raises, once") do
      name = id
      leave("/endless/#{name}")
      assert_equal "Errno::EPIPE\n", note(name)
    end

    check("a body that raises: the answer does not look whole") do
      answer = Http.request(@server.port, "GET", "/raises")
      assert_equal [200, "begun\n", false], [answer.status, answer.body, answer.whole]
    end
  end

  def talk(http)
    http.write("one\ntwo\n")
    assert_equal ["echo one\n", "echo two\n"], Array.new(2) { http.socket.gets }
    http.write("bye\n")
    assert_equal nil, http.socket.gets
  end

  def hijacks
    check("full hijack: a protocol of the app's own") do
      http = Http.new(@server.port)
      http.write("GET /full_hijack HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
      head = http.socket.gets("\r\n\r\n")
      assert_match(/\AHTTP\/1\.1 101 /, head)
      talk(http)
    end

    check("full hijack: what came behind the head is not lost") do
      http = Http.new(@server.port)
      http.write("GET /full_hijack HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\near\n")
      http.socket.gets("\r\n\r\n")
      assert_equal "echo ear\n", http.socket.gets
      talk(http)
    end

    check("partial hijack: behind a head that the server wrote") do
      http = Http.new(@server.port)
      http.write("GET /partial_hijack HTTP/1.1\r\nhost: test\r\n\r\n")
      head = http.socket.gets("\r\n\r\n")
      assert_match(/\AHTTP\/1\.1 200 .*content-type: text\/plain/mi, head)
      refute_match(/rack\.hijack/, head)
      talk(http)
    end
  end

  def hints
    check("early hints") do
      answer = Curl.new(@server.port).get("/hints")
      assert_equal [[103, 200], "hinted\n"], [answer.heads, answer.body]
      assert_equal "hinted\n", net { |http| http.get("/hints").body }
    end
  end

  def finished
    check("response_finished: once for an answer, an exception, a client that leaves") do
      names = Array.new(3) { id }
      net { |http| http.get("/finished/#{names[0]}") }
      assert_equal "true 200 text/plain \n", note(names[0])
      assert_equal "500", net { |http| http.get("/finished/#{names[1]}/raises").code }
      assert_match(/\Atrue (500)? .*ArgumentError\n\z/, note(names[1]))
      leave("/finished/#{names[2]}/endless")
      assert_match(/\Atrue 200 text\/plain \S+\n\z/, note(names[2]))
      assert_equal(3, names.sum { |name| note(name).lines.size })
    end
  end
end
