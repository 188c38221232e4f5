# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An app whose paths are kinds of bodies, of uploads and of failures. bodies_checks.rb says what is to
# be seen of it. Runs on Rack 2 and 3. $CLOSES names a file that gets a line for each closed body.

require "digest"
require "json"
require "tempfile"

# A body that says when it was closed.
class Closing
  def initialize(id, chunks, &on_close)
    @id = id
    @chunks = chunks
    @on_close = on_close
  end

  def each(&block)
    @chunks.each(&block)
  end

  def close
    File.write(ENV.fetch("CLOSES"), "#{@id}\n", mode: "a") if @id
    @on_close&.call
  end
end

# ...and that a server may send as a file.
class FileBody < Closing
  attr_reader :to_path

  def initialize(id, path, &on_close)
    super(id, File.exist?(path) ? File.foreach(path) : [], &on_close)
    @to_path = path
  end
end

class Bodies
  TEXT = { "content-type" => "text/plain" }.freeze
  LETTERS = ("a".."z").to_a.join.freeze

  def initialize
    @file = Tempfile.new("bodies")
    @file.write("line of a file\n" * 20_000)
    @file.flush
    @empty = Tempfile.new("empty")
  end

  def call(env)
    _, name, *rest = env["PATH_INFO"].split("/")
    query = env["QUERY_STRING"].split("&").to_h { |pair| pair.split("=", 2) }
    handler = "on_#{name}"
    return [404, TEXT.dup, ["nothing here\n"]] unless respond_to?(handler, true)

    send(handler, env, query, *rest)
  end

  private

  def ok(body, headers = {})
    [200, TEXT.merge(headers), body]
  end

  # --- bodies ---

  def on_hello(*) = ok(["hello\n"])
  def on_array(*) = ok(%w[one two three])
  def on_empty(*) = ok([])
  def on_blank(*) = ok(["", "", ""])
  def on_sized(*) = ok(%w[one two three], "content-length" => "11")
  def on_each(_, query) = ok(Closing.new(query["id"], %w[one two three]))
  def on_each_sized(_, query) = ok(Closing.new(query["id"], %w[one two three]), "content-length" => "11")
  def on_each_empty(_, query) = ok(Closing.new(query["id"], []))
  def on_each_blank(_, query) = ok(Closing.new(query["id"], ["", "one", "", "two", ""]))
  def on_file(_, query) = ok(FileBody.new(query["id"], @file.path), "content-length" => @file.size.to_s)
  def on_file_unsized(_, query) = ok(FileBody.new(query["id"], @file.path))
  def on_file_empty(_, query) = ok(FileBody.new(query["id"], @empty.path))
  def on_file_gone(_, query) = ok(FileBody.new(query["id"], "/nowhere/at/all"))

  # @n pieces of @size bytes, which are made while they are sent.
  def on_huge(_, query)
    size = query.fetch("size").to_i
    pieces = Enumerator.new { |y| query.fetch("n").to_i.times { |i| y << (LETTERS * (size / 26 + 2)).byteslice(i % 26, size) } }
    ok(Closing.new(query["id"], pieces))
  end

  def on_big(_, query) = ok(["x" * query.fetch("size").to_i])
  def on_utf8(*) = ok(["grüße ", "世界", "\xff\x00".b])

  # --- statuses and headers ---

  def on_status(_, query)
    code = query.fetch("code").to_i
    return [code, {}, Closing.new(query["id"], [])] if [204, 304].include?(code)

    [code, TEXT.dup, Closing.new(query["id"], ["status #{code}\n"])]
  end

  def on_headers(*)
    several = Rack.release >= "3" ? %w[a=1 b=2] : "a=1\nb=2"
    ok(["x"], "set-cookie" => several, "x-empty" => "", "x-spaces" => "a  b", "x-high" => "caf\xc3\xa9")
  end

  def on_mixed_case(*) = [200, { "Content-Type" => "text/plain", "X-Mixed" => "Yes" }, ["x"]]
  def on_date(*) = ok(["x"], "date" => "Thu, 01 Jan 1970 00:00:00 GMT")
  def on_close(*) = ok(["x"], "connection" => "close")
  def on_rack_header(*) = [200, TEXT.merge("rack.private" => "not for the wire"), ["x"]]

  # --- what the request was ---

  def on_env(env, *)
    plain = env.select { |_, value| value.is_a?(String) || value == true || value == false || value.is_a?(Array) }
    ok([JSON.generate(plain)])
  end

  def on_echo(env, *) = ok([env["rack.input"]&.read.to_s], "content-type" => env["CONTENT_TYPE"] || "none/none")

  def on_digest(env, query)
    input = env["rack.input"]
    digest = Digest::SHA256.new
    length = 0
    while (piece = input.read(query.fetch("step", "16384").to_i))
      digest << piece
      length += piece.bytesize
    end
    ok(["#{length} #{digest.hexdigest}\n"])
  end

  # All ways to read, each from the start.
  READERS = {
    "gets" => ->(input) { [].tap { |lines| lines << input.gets until lines.last.nil? && !lines.empty? } },
    "each" => ->(input) { [].tap { |lines| input.each { |line| lines << line } } },
    "read_nil" => ->(input) { [input.read, input.read, input.read(5)] },
    "read_n" => ->(input) { [input.read(3), input.read(0), input.read(1 << 20), input.read(1)] },
    "buffer" => ->(input) { (+"old").then { |buffer| [input.read(4, buffer).equal?(buffer), buffer] } },
    "rewind" => ->(input) { [input.read(2), (input.read if input.respond_to?(:rewind) && input.rewind)] },
    "none" => ->(_) { [] },
  }.freeze

  def on_input(env, query) = ok([JSON.generate(READERS.fetch(query["by"]).call(env["rack.input"]))])

  def on_errors(env, *)
    env["rack.errors"].puts("said to rack.errors")
    env["rack.errors"].flush
    ok(["x"])
  end

  # --- failures ---

  def on_raise(_, query) = raise(query.fetch("class", "RuntimeError").split("::").inject(Object, :const_get), "on purpose")
  def on_throw(*) = throw(:nobody)
  def on_stack(env, query) = on_stack(env, query)
  def on_exit(*) = exit(3)
  def on_fiber(*) = Fiber.yield
  def on_thread_exit(*) = Thread.current.kill

  def on_each_raises(_, query)
    pieces = Enumerator.new { |y| query.fetch("after", "1").to_i.times { y << "piece " } and raise(IOError, "in each") }
    ok(Closing.new(query["id"], pieces))
  end

  def on_close_raises(_, query) = ok(Closing.new(query["id"], ["one"]) { raise IOError, "in close" })
  def on_short(_, query) = ok(Closing.new(query["id"], ["five!"]), "content-length" => "10")
  def on_long(_, query) = ok(Closing.new(query["id"], ["0123456789"]), "content-length" => "5")

  BAD = {
    "nil" => nil,
    "string" => "hello",
    "two" => [200, {}],
    "status" => ["teapot", {}, []],
    "status_small" => [7, {}, []],
    "status_big" => [1000, {}, []],
    "headers" => [200, nil, []],
    "header_name" => [200, { 5 => "x" }, []],
    "header_value" => [200, { "x-y" => 5 }, []],
    "body" => [200, {}, 5],
    "body_nil" => [200, {}, nil],
    "array_nil" => [200, {}, [nil]],
    "cr" => [200, { "x-y" => "a\rSet-Cookie: stolen" }, []],
    "crlf" => [200, { "x-y" => "a\r\nSet-Cookie: stolen" }, []],
    "nul" => [200, { "x-y" => "a\0stolen" }, []],
    "name_space" => [200, { "x y" => "stolen" }, []],
    "name_colon" => [200, { "x:y" => "stolen" }, []],
    "name_crlf" => [200, { "x\r\nSet-Cookie: stolen" => "1" }, []],
    "name_empty" => [200, { "" => "stolen" }, []],
    "length" => [200, { "content-length" => "5, 6" }, ["stole"]],
    "length_negative" => [200, { "content-length" => "-5" }, ["stole"]],
  }.freeze

  def on_bad(_, _, which) = BAD.fetch(which).then { |answer| answer.is_a?(Array) ? answer.map { |part| part.frozen? ? part.dup : part } : answer }
  def on_bad_chunk(_, query) = ok(Closing.new(query["id"], ["good", 5]))

  # --- time ---

  def on_sleep(_, query)
    sleep(query.fetch("s").to_f)
    ok(["slept\n"])
  end

  def on_burn(_, query)
    stop = Process.clock_gettime(Process::CLOCK_MONOTONIC) + query.fetch("s").to_f
    nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < stop
    ok(["burnt\n"])
  end

  # Holds its thread until the file is there; says in another that it has begun.
  def on_wait(_, query)
    File.write("#{ENV.fetch("CLOSES")}.#{query["id"]}.begun", "")
    sleep 0.01 until File.exist?("#{ENV.fetch("CLOSES")}.#{query["id"]}")
    File.write(ENV.fetch("CLOSES"), "ran #{query["id"]}\n", mode: "a")
    ok(["waited\n"])
  end

  # --- the process ---

  def on_pid(*) = ok(["#{Process.pid}\n"])
  def on_threads(*) = ok([Thread.current.object_id.to_s])

  # Children of the app hold what they inherit until the file is there.
  def on_fork(_, query)
    pid = fork do
      sleep 0.01 until File.exist?("#{ENV.fetch("CLOSES")}.#{query["id"]}")
      exit!
    end
    Process.detach(pid)
    ok([pid.to_s])
  end

  def on_fork_plain(*)
    pid = fork
    return [200, TEXT.dup, ["from the child\n"]] unless pid

    Process.wait(pid)
    ok(["child ended with #{$?.exitstatus.inspect} #{$?.termsig.inspect}\n"])
  end

  def on_system(*) = ok([`echo from a shell; exit 3`, $?.exitstatus.to_s])

  def on_gc(*)
    GC.start
    GC.respond_to?(:compact) && GC.compact
    ok(["#{GC.count}\n"])
  end
end

run Bodies.new
