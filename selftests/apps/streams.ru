# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What Rack 3 apps do with a connection beyond an answer: bodies that answer call, hijack, early hints,
# response_finished. streams_checks.rb says what is to be seen of it. $NOTES is a folder: in it the app
# waits for files, and says what has happened.

require "json"

module Streams
  TEXT = { "content-type" => "text/plain" }.freeze

  module_function

  def note(name, text)
    File.write(File.join(ENV.fetch("NOTES"), name), "#{text}\n", mode: "a")
  end

  # 10 s at most.
  def wait_for(name)
    1000.times do
      return if File.exist?(File.join(ENV.fetch("NOTES"), name))

      sleep 0.01
    end
    raise "nobody has asked for #{name}"
  end

  def on_ticks(*)
    [200, TEXT.merge("content-type" => "text/event-stream"), lambda do |stream|
      3.times do |i|
        wait_for("tick-#{i}") unless i.zero?
        stream.write("data: #{i}\n\n")
        stream.flush
      end
    ensure
      stream.close
    end]
  end

  # As much as the client takes; ends when it is gone.
  def on_endless(_, id)
    [200, TEXT.dup, lambda do |stream|
      loop { stream.write("x" * 10_000) }
    rescue Errno::EPIPE => e
      note(id, e.class)
    ensure
      stream.close
    end]
  end

  def on_large(*)
    [200, TEXT.dup, ->(stream) { 1000.times { |i| stream << "#{i} " << "y" * 1000 << "\n" } && stream.close }]
  end

  def on_raises(*)
    [200, TEXT.dup, ->(stream) { stream.write("begun\n") && raise(ArgumentError, "in call") }]
  end

  # Another thread goes on with it: the one that ran this is free.
  def on_handed_over(*)
    [200, TEXT.dup, lambda do |stream|
      Thread.new do
        wait_for("handed")
        stream.write("from another thread\n")
        stream.close
      end
    end]
  end

  # A protocol of its own: echoes lines of four bytes until "bye". Lint has only read.
  def echo(io, first)
    until (line = first.empty? ? io.read(4) : first.slice!(0, 4)).nil? || line == "bye\n"
      io.write("echo #{line}")
    end
  ensure
    io.close
  end

  def on_full_hijack(env, *)
    io = env["rack.hijack"].call
    first = +env["hyperion.hijack_buffered"].to_s
    io.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
    Thread.new { echo(io, first) }
    [200, {}, []]
  end

  def on_partial_hijack(*)
    [200, TEXT.merge("rack.hijack" => ->(io) { echo(io, +"") }), []]
  end

  def on_hints(env, *)
    env["rack.early_hints"].call("link" => ["</a.css>; rel=preload", "</b.js>; rel=preload"])
    [200, TEXT.dup, ["hinted\n"]]
  end

  def on_finished(env, id, kind = "plain")
    env["rack.response_finished"] << lambda do |its_env, status, headers, error|
      note(id, [its_env.equal?(env), status, headers && headers["content-type"], error&.class].join(" "))
    end
    raise ArgumentError, "on purpose" if kind == "raises"

    [200, TEXT.dup, kind == "endless" ? ->(stream) { loop { stream.write("x" * 10_000) } } : ["done\n"]]
  end

  def call(env)
    _, name, *rest = env["PATH_INFO"].split("/")
    send("on_#{name}", env, *rest)
  end
end

run Streams
