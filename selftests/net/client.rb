# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A client that takes answers one by one, and cases that run with each loop.

require_relative "../harness/tap"

# One answer; header names in lower case.
Answer = Struct.new(:status, :headers, :body, keyword_init: true) do
  def last?
    headers["connection"] == "close"
  end
end

class Client
  # The server ended the connection within an answer.
  class Cut < StandardError; end

  attr_reader :socket

  def initialize(socket)
    @socket = socket
    @rest = "".b
  end

  def write(bytes)
    @socket.write(bytes)
    self
  end

  def get(path = "/", *headers)
    write("GET #{path} HTTP/1.1\r\nHost: test\r\n#{headers.map { |h| "#{h}\r\n" }.join}\r\n")
    answer
  end

  # The next answer, nil when the server closed before its first byte.
  def answer(head: false)
    more until (split = @rest.index("\r\n\r\n")) || @eof
    return nil if @eof && @rest.empty?
    raise Cut, @rest unless split

    lines = @rest.slice!(0, split + 4).split("\r\n")
    status = lines.shift[%r{\AHTTP/1\.1 (\d{3}) \S}, 1] or raise Cut, "not an answer"
    headers = lines.to_h { |line| line.split(": ", 2).then { |name, value| [name.downcase, value] } }
    length = head || status.start_with?("1") ? 0 : Integer(headers.fetch("content-length"))
    more until @rest.bytesize >= length || @eof
    raise Cut, "#{length} bytes were promised, #{@rest.bytesize} came" if @rest.bytesize < length

    Answer.new(status: status.to_i, headers: headers, body: @rest.slice!(0, length))
  end

  # Everything until the server closes.
  def rest
    more until @eof
    @rest
  end

  def closed?
    rest.empty?
  end

  def close
    @socket.close
  end

  private

  def more
    @rest << @socket.readpartial(65_536)
  rescue EOFError
    @eof = true
    @socket.close # or the server would wait for that
  end
end

class Server
  # A client that goes with the case.
  def client
    client = Client.new(connect)
    (@clients ||= []) << client
    Tap.after { client.close }
    client
  end

  # So far: a stop need not wait for any.
  def clients_go
    (@clients || []).each(&:close)
  end
end

# A case for each loop: "on" and "off" for --io-uring.
def on_each_loop(name, seconds: 10)
  %w[on off].each do |mode|
    test("#{name} (io_uring #{mode})", seconds: seconds) do
      needs("io_uring") if mode == "on"
      yield mode
      Server.running.each { |server| refute_match(/Sanitizer|runtime error|exited with status/, server.log) }
    end
  end
end

# A folder in which the server may write, whoever it runs as.
def open_folder
  dir = Dir.mktmpdir("hyperion-net")
  File.chmod(0o777, dir)
  Tap.after { FileUtils.remove_entry(dir, true) }
  dir
end

# Of /proc/PID/status.
def process_status(pid, key)
  File.read("/proc/#{pid}/status")[/^#{key}:\s*(\d+)/, 1].to_i
end

def running?(pid)
  File.read("/proc/#{pid}/stat")[/\) (\w)/, 1] != "Z"
rescue Errno::ENOENT, Errno::ESRCH
  false
end

# Stops a process, all of it: what comes from now on it has not taken.
def stand_still(pid)
  Process.kill(:STOP, pid)
  eventually("#{pid} to stand still") { Dir["/proc/#{pid}/task/*/stat"].all? { |f| File.read(f)[/\) (\w)/, 1] == "T" } }
end
