#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Stopping: at once, or without losing a request.

require_relative "client"

GET = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"

def serve(mode, *args, **how)
  Server.start("--io-uring", mode, "--no-log-requests", "--constant", "/=hello\n", *args, **how)
end

# Asks one request after the other until nobody listens any more. Counts what became of them.
class Asker
  attr_reader :answered, :lost, :refused_after_connect

  def initialize(server, fresh:)
    @server = server
    @fresh = fresh
    @answered = 0
    @lost = []
    @refused_after_connect = 0
    @thread = Thread.new { run }
  end

  def join
    @thread.join
    self
  end

  private

  def run
    loop do
      client = Client.new(@server.connect)
      talk(client)
      client.close
    end
  rescue Errno::ECONNREFUSED
    nil
  end

  # On one connection, until the server wants no more of it.
  def talk(client)
    first = true
    loop do
      answer = client.get("/", *(@fresh ? ["Connection: close"] : []))
      return note(first, "closed without an answer") unless answer

      @answered += 1
      return if answer.last?

      first = false
    end
  rescue Client::Cut, SystemCallError => e
    note(first, e.class.name)
  end

  # The first request of a connection: it was made, but nobody accepted it.
  def note(first, what)
    first ? @refused_after_connect += 1 : @lost << what
  end
end

%w[kept fresh].each do |kind|
  on_each_loop "TERM under load: every request that was begun is answered (#{kind} connections)", seconds: 20 do |mode|
    server = serve(mode, "-w", 2)
    askers = Array.new(16) { Asker.new(server, fresh: kind == "fresh") }
    eventually("some load") { askers.sum(&:answered) > 2000 }
    assert server.stop.success?
    askers.each(&:join)
    assert_equal [], askers.flat_map(&:lost)
    unserved = askers.sum(&:refused_after_connect)
    Tap.comment("#{askers.sum(&:answered)} answered, #{unserved} not accepted any more")
    allowed = Capabilities.has?("bpf", hidden: Tap::HIDDEN) ? 0 : askers.size
    assert unserved <= allowed, "#{unserved} connections were made and never served"
  end
end

on_each_loop "TERM: what waits in the queue is served" do |mode|
  server = serve(mode, "-w", 2)
  eventually("two workers") { server.workers.size == 2 }
  server.workers.each { |pid| stand_still(pid) }
  waiting = Array.new(20) { server.client.write(GET * 3) }
  server.signal(:TERM)
  eventually("the word") { server.log.include?("stopping") }
  server.workers.each { |pid| Process.kill(:CONT, pid) }
  waiting.each do |client|
    # Any answer may be the last: the client sees that and asks elsewhere.
    answers = [client.answer]
    answers << client.answer until answers.last.nil? || answers.last.last? || answers.size == 3
    assert_equal ["hello\n"] * answers.size, answers.map { |a| a&.body }
    assert client.closed?
  end
  assert server.wait.success?
end

on_each_loop "TERM: what waits in the queue because of max_connections is served" do |mode|
  server = serve(mode, "-w", 1, "--max-connections", 1)
  holder = server.client
  assert_equal 200, holder.get.status
  waiting = Array.new(5) { server.client.write(GET) }
  server.signal(:TERM)
  waiting.each do |client|
    answer = client.answer
    assert_equal "hello\n", answer.body
    assert answer.last?
  end
  holder.close
  assert server.wait.success?
end

# A connection that is made must be served: so none is made any more.
on_each_loop "TERM: nobody gets in behind the last" do |mode|
  needs("bpf") # unprivileged, some kernels refuse the filter that keeps them out
  server = serve(mode, "-w", 1)
  eventually("a worker") { server.workers.size == 1 }
  worker = server.workers.first
  waiting = server.client.write(GET)
  assert_equal "hello\n", waiting.answer.body
  stand_still(worker)
  server.signal(:TERM)
  eventually("the word") { server.log.include?("stopping") }
  address = Socket.sockaddr_in(server.port, "127.0.0.1")
  # Right behind the word; until then they get in, and are served below.
  eventually("connections to be kept out") do
    late = Socket.new(:INET, :STREAM)
    Tap.after { late.close }
    late.connect_nonblock(address, exception: false) == :wait_writable && !late.wait_writable(0.2)
  end
  Process.kill(:CONT, worker)
  waiting.close
  assert server.wait.success?
end

%i[TERM INT].each do |name|
  on_each_loop "#{name}: requests within their bodies are finished" do |mode|
    server = serve(mode, "-w", 1, "--idle-keepalive", 1)
    idle = server.client
    assert_equal 200, idle.get.status
    busy = server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
    # Accepted in order: once this one is answered, the one before is there.
    assert_equal 200, server.client.get.status
    server.signal(name)
    eventually("the listener to be closed") { Server.unused?(server.port) }
    assert server.alive?
    busy.write("67890")
    answer = busy.answer
    assert_equal 405, answer.status
    assert answer.last?
    assert busy.closed?
    assert idle.closed?
    assert server.wait.success?
  end
end

on_each_loop "a request that never ends is cut at the graceful timeout" do |mode|
  server = serve(mode, "-w", 1, "--graceful-timeout", 1)
  client = server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
  assert_equal 200, server.client.get.status
  assert server.stop.success?
  assert_match(/graceful_timeout is over.*connections=[12]/, server.log)
  assert_raise(Errno::ECONNRESET, EOFError) { client.socket.readpartial(1) }
end

on_each_loop "QUIT: at once, whatever is open" do |mode|
  server = serve(mode, "-w", 2)
  clients = Array.new(10) { server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345") }
  clients.each { |client| client.write("678") }
  eventually("two workers") { server.workers.size == 2 }
  workers = server.workers
  assert server.stop(:QUIT).success?
  assert workers.none? { |pid| running?(pid) }
  assert_include server.log, "stopping at once"
  clients.each { |client| assert_raise(Errno::ECONNRESET, EOFError) { client.socket.readpartial(1) } }
end

on_each_loop "QUIT after TERM does not wait any longer" do |mode|
  server = serve(mode, "-w", 1)
  server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
  assert_equal 200, server.client.get.status
  server.signal(:TERM)
  eventually("the listener to be closed") { Server.unused?(server.port) }
  assert server.alive?
  assert server.stop(:QUIT).success?
end

on_each_loop "Ctrl-C: the whole process group gets INT, requests are finished" do |mode|
  server = serve(mode, "-w", 2)
  eventually("two workers") { server.workers.size == 2 }
  busy = Array.new(6) { server.client.write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345") }
  20.times { assert_equal 200, server.client.get("/", "Connection: close").status }
  Process.kill(:INT, -server.pid)
  eventually("the listener to be closed") { Server.unused?(server.port) }
  busy.each do |client|
    client.write("67890")
    assert_equal 405, client.answer.status
    client.close
  end
  assert server.wait.success?
  refute_match(/killed|exited/, server.log)
end

on_each_loop "signals that mean nothing here change nothing" do |mode|
  server = serve(mode, "-w", 1)
  eventually("a worker") { server.workers.size == 1 }
  worker = server.workers.first
  assert_equal 200, server.client.get.status
  %i[TERM INT QUIT USR2].each { |name| Process.kill(name, worker) }
  server.signal(:USR2)
  5.times { assert_equal 200, server.client.get.status }
  assert_equal [worker], server.workers
end

on_each_loop "no client: stops from idle, ten times in a row", seconds: 30 do |mode|
  10.times do
    server = serve(mode, "-w", 2)
    workers = server.workers
    assert server.stop.success?
    assert workers.none? { |pid| running?(pid) }
    refute_match(/error|warn/, server.log)
  end
end
