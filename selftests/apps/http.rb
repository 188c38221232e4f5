# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A plain HTTP/1.1 client that shows what a browser hides: repeated fields, how the body ended.

require "socket"
require "timeout"

class Http
  # @headers: pairs, names in lower case. @framing: :length, :chunked, :close or :none.
  Answer = Struct.new(:status, :headers, :body, :framing, :whole, :raw, keyword_init: true) do
    def [](name)
      headers.filter_map { |n, value| value if n == name }.then { |values| values.size > 1 ? values : values.first }
    end
  end

  attr_reader :socket

  def initialize(port, host = "127.0.0.1")
    @socket = TCPSocket.new(host, port)
    @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    @buffer = "".b
    Tap.after { close } if Tap.inside # a stop after the case need not wait for it
  end

  # One request on a connection of its own.
  def self.request(port, verb, target, body = nil, headers = {})
    http = new(port)
    http.ask(verb, target, body, headers)
  ensure
    http&.close
  end

  def ask(verb, target, body = nil, headers = {})
    send_request(verb, target, body, headers)
    answer(verb)
  end

  # An array as body goes out in chunks.
  def send_request(verb, target, body = nil, headers = {})
    fields = { "host" => "test" }.merge(headers)
    fields["content-length"] ||= body.bytesize.to_s if body.is_a?(String)
    fields["transfer-encoding"] = "chunked" if body.is_a?(Array)
    write("#{verb} #{target} HTTP/1.1\r\n#{fields.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n")
    write(body.is_a?(Array) ? chunks(body) : body) if body
  end

  def write(bytes)
    @socket.write(bytes)
  rescue Errno::EPIPE, Errno::ECONNRESET
    nil # what it answered is still to be read
  end

  # nil when the connection ended before the first byte.
  def answer(verb = "GET")
    head = read_to("\r\n\r\n") or return nil
    lines = head.split("\r\n")
    status = lines.shift.to_s[%r{\AHTTP/1\.1 (\d{3}) }, 1] or raise "no status line in #{head.inspect}"
    headers = lines.map { |line| line.split(":", 2).then { |name, value| [name.downcase, value.to_s.strip] } }
    answer = Answer.new(status: status.to_i, headers: headers, whole: true, raw: head)
    read_body(answer, verb)
    answer
  end

  # Nothing more comes, and the server has closed.
  def closed?
    Timeout.timeout(5) { @buffer.empty? && !fill }
  end

  def close
    @socket.close
  end

  private

  def chunks(pieces)
    "#{pieces.map { |piece| "#{piece.bytesize.to_s(16)}\r\n#{piece}\r\n" }.join}0\r\n\r\n"
  end

  def read_body(answer, verb)
    answer.framing = framing(answer, verb)
    answer.body = case answer.framing
                  when :none then ""
                  when :length then read(answer["content-length"].to_i, answer)
                  when :chunked then read_chunks(answer)
                  when :close then read_rest
                  end
  end

  def framing(answer, verb)
    return :none if verb == "HEAD" || answer.status < 200 || [204, 304].include?(answer.status)
    return :chunked if answer["transfer-encoding"] == "chunked"

    answer["content-length"] ? :length : :close
  end

  def read_chunks(answer)
    body = "".b
    loop do
      line = read_to("\r\n") or break answer.whole = false
      size = Integer(line.strip, 16)
      body << read(size, answer)
      read(2, answer)
      break if size.zero? || !answer.whole
    end
    body
  end

  def read(size, answer)
    fill or break while @buffer.bytesize < size
    answer.whole = false if @buffer.bytesize < size
    @buffer.slice!(0, size)
  end

  def read_to(mark)
    until (at = @buffer.index(mark))
      return nil unless fill
    end
    @buffer.slice!(0, at + mark.bytesize)
  end

  def read_rest
    nil while fill
    @buffer.slice!(0, @buffer.bytesize)
  end

  def fill
    @buffer << @socket.readpartial(65_536)
  rescue EOFError, Errno::ECONNRESET
    false
  end
end
