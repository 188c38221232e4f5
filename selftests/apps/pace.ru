# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An app of bodies that are made while they leave, of hijacked connections, and of counters: GET /counts
# is JSON of all of them. pace.t and leave.t say what is to be seen.

require "json"

# Numbers by name, also of a name to which one has to wait.
class Counts
  def initialize
    @counts = Hash.new(0)
    @lock = Mutex.new
  end

  def add(name, nr = 1)
    @lock.synchronize { @counts[name.to_s] += nr }
  end

  def to_json(*)
    @lock.synchronize { JSON.generate(@counts) }
  end
end

COUNTS = Counts.new
GATE = Queue.new # what waits in it goes on by GET /open
TEXT = { "content-type" => "text/plain" }.freeze

# A body that counts its life.
class Body
  def initialize(&block)
    @block = block
    @closed = 0
    COUNTS.add(:made)
  end

  def close
    COUNTS.add((@closed += 1) > 1 ? :closed_again : :closed)
  end
end

class EachBody < Body
  def each(&block)
    @block.call(block)
  end
end

class CallBody < Body
  def call(stream)
    @block.call(stream)
  end
end

class Streams
  def call(env)
    _, name = env["PATH_INFO"].split("/")
    query = env["QUERY_STRING"].split("&").to_h { |pair| pair.split("=", 2) }.transform_values(&:to_i)
    watch(env) unless %w[counts hello open].include?(name)
    send("on_#{name}", env, query)
  end

  private

  # Each request that wants to be told is told once.
  def watch(env)
    COUNTS.add(:asked)
    told = 0
    env["rack.response_finished"] << lambda do |_env, _status, _headers, error|
      COUNTS.add((told += 1) > 1 ? :told_again : :told)
      COUNTS.add(:told_of_error) if error
    end
  end

  def ok(body, headers = {}) = [200, TEXT.merge(headers), body]

  def on_hello(*) = ok(["hello\n"])

  def on_counts(*)
    GC.start if ENV["COLLECT"]
    ok([COUNTS.to_json])
  end

  def on_open(_env, query)
    query.fetch("n", 1).times { GATE << true }
    ok(["opened\n"])
  end

  # Pieces: n of them, size bytes each, with a pause of ms between.
  def on_each(_env, query)
    n, size, pause = query.values_at("n", "size", "ms")
    piece = "x" * (size || 50)
    ok(EachBody.new do |out|
      (n || 10).times do
        out.call(piece)
        COUNTS.add(:produced, piece.bytesize)
        sleep(pause / 1000.0) if pause
      end
    end)
  end

  def on_call(_env, query)
    n, size = query.values_at("n", "size")
    piece = "x" * (size || 50)
    ok(CallBody.new do |stream|
      (n || 10).times do
        stream.write(piece)
        stream.flush if query["flush"]
        COUNTS.add(:produced, piece.bytesize)
      end
    rescue Errno::EPIPE
      COUNTS.add(:epipe)
    ensure
      stream.close
    end)
  end

  # Goes on in another thread, when the gate lets it.
  def on_later(*)
    ok(CallBody.new do |stream|
      Thread.new do
        stream << "first\n"
        GATE.pop
        stream << "last\n"
      rescue Errno::EPIPE
        COUNTS.add(:epipe)
      ensure
        stream.close
      end
    end)
  end

  # Within the body, and before there is an answer.
  def on_gate(*)
    ok(EachBody.new do |out|
      out.call("first\n")
      GATE.pop
      out.call("last\n")
    end)
  end

  def on_slow_handler(_env, query)
    sleep((query["ms"] || 20) / 1000.0)
    ok(EachBody.new { |out| out.call("done\n") })
  end

  def on_raise(*)
    ok(EachBody.new { |out| out.call("a"); raise "of no importance" })
  end

  # Echoes lines in a thread of its own until the client goes.
  def on_hijack(env, *)
    io = env["rack.hijack"].call
    COUNTS.add(:hijacked)
    buffered = env["hyperion.hijack_buffered"]
    Thread.new do
      io.write("#{buffered}|")
      while (line = io.gets)
        io.write(line)
      end
    rescue SystemCallError
      nil
    ensure
      io.close
      COUNTS.add(:hijack_closed)
    end
    [200, {}, EachBody.new { raise "nobody asks for it" }]
  rescue IOError
    COUNTS.add(:hijack_gone)
    [200, {}, EachBody.new { raise "nobody asks for it" }]
  end

  def on_partial(*)
    handler = lambda do |io|
      COUNTS.add(:hijacked)
      io.write("its own words")
    rescue SystemCallError
      nil
    ensure
      io.close
      COUNTS.add(:hijack_closed)
    end
    ok(EachBody.new { raise "nobody asks for it" }, "rack.hijack" => handler)
  end

  # One line of another protocol, then HTTP again.
  def on_return(env, *)
    io = env["rack.hijack"].call
    bytes = env["hyperion.hijack_buffered"].dup
    bytes << io.readpartial(1000) until bytes.include?("\n")
    line, rest = bytes.split("\n", 2)
    io.write("got #{line}\n")
    Hyperion::Server.give_back(io, rest)
    COUNTS.add(:given_back)
    nil
  end
end

run Streams.new
