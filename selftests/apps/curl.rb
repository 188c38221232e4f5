# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# curl as a client that is not ours.
#
#   curl = Curl.new(port)                                  one cookie jar
#   curl.get("/visits", "-H", "accept: text/plain").body

require "tmpdir"
require "fileutils"

class Curl
  # @headers: pairs, names in lower case, of the last head. @heads: status of each that came, 100 and 103 too.
  Answer = Struct.new(:status, :headers, :body, :heads) do
    def [](name)
      all(name).then { |values| values.size > 1 ? values : values.first }
    end

    def all(name)
      headers.filter_map { |n, value| value if n == name }
    end
  end

  class Failed < StandardError; end

  LIMIT = 20 # seconds

  def initialize(port)
    @port = port
    @dir = Dir.mktmpdir("curl")
    @jar = File.join(@dir, "cookies")
    Tap.after { FileUtils.remove_entry(@dir, true) }
  end

  # @args: as curl has them.
  def get(target, *args)
    head, body, said = %w[head body said].map { |name| File.join(@dir, name) }
    FileUtils.rm_f([head, body])
    FileUtils.touch(@jar)
    argv = ["curl", "-sS", "--http1.1", "--noproxy", "*", "--max-time", LIMIT.to_s, "-b", @jar, "-c", @jar,
            "-D", head, "-o", body, *args, "http://127.0.0.1:#{@port}#{target}"]
    system(*argv, out: said, err: said) or raise Failed, "#{argv.drop(1).join(" ")}: #{File.read(said)}"
    parse(File.binread(head), File.exist?(body) ? File.binread(body) : "")
  end

  private

  def parse(text, body)
    heads = text.split("\r\n\r\n")
    lines = heads.last.split("\r\n")
    headers = lines.drop(1).map { |line| line.split(":", 2).then { |name, value| [name.downcase, value.to_s.strip] } }
    Answer.new(lines.first[/ (\d{3})/, 1].to_i, headers, body, heads.map { |h| h[/ (\d{3})/, 1].to_i })
  end
end
