#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Clients that leave at every stage of a stream or a hijack: nothing is left of them, every body is
# closed once, and whoever asked is told once. HYPERION_LEAVE_ROUNDS=10000 for the long run.

require "json"
require_relative "../harness/tap"
require_relative "gems"
require_relative "http"

APP = File.join(__dir__, "pace.ru")
ROUNDS = Integer(ENV.fetch("HYPERION_LEAVE_ROUNDS", "900"))
CLIENTS = 4
UPGRADE = "Connection: upgrade\r\nUpgrade: echo\r\n"

# One client: asks, reads as far as its stage says, and is gone, by FIN or by RST.
class Leaver
  def initialize(port, rng)
    @port = port
    @rng = rng
  end

  def leave(stage)
    @socket = TCPSocket.new("127.0.0.1", @port)
    send(stage)
  rescue Errno::ECONNRESET, Errno::EPIPE, EOFError
    nil # the other side was faster
  ensure
    go
  end

  def self.stages = private_instance_methods(false).grep(/\Aat_/).sort

  private

  def go
    @socket.setsockopt(:SOCKET, :LINGER, [1, 0].pack("ii")) if @rng.rand(2).zero?
    @socket.close
    Http.request(@port, "GET", "/open") if @opens
    @opens = false
  end

  def ask(target, fields = "", behind = "")
    @socket.write("GET #{target} HTTP/1.1\r\nHost: x\r\n#{fields}\r\n#{behind}")
  end

  def read(word)
    text = +""
    text << @socket.readpartial(65_536) until text.include?(word)
  end

  def a_moment = sleep(@rng.rand * 0.006)

  def at_half_a_head = @socket.write("GET /each HTTP/1.1\r\nHo")

  def at_once = ask("/slow_handler?ms=3")

  def at_the_handler
    ask("/slow_handler?ms=5")
    a_moment
  end

  def at_the_first_event
    ask("/each?n=20&size=50&ms=1")
    read("\r\n\r\n")
  end

  def at_an_event
    ask("/each?n=20&size=50&ms=1")
    a_moment
  end

  def at_full_speed
    ask("/each?n=300&size=100000")
    @socket.readpartial(1000)
  end

  def at_written_speed
    ask("/call?n=300&size=100000")
    a_moment
  end

  # The producer waits for room by then, most likely.
  def at_a_standstill
    @socket.setsockopt(:SOCKET, :RCVBUF, 4096)
    ask("/call?n=100000&size=1000&flush=1")
    sleep 0.02
  end

  def at_the_end
    ask("/each?n=3&size=50")
    read("0\r\n\r\n")
  end

  def at_an_error
    ask("/raise")
    @rng.rand(2).zero? ? @socket.read : a_moment
  end

  # Its end is written after it has gone.
  def at_a_stream_left_open
    ask("/later")
    read("first\n")
    @opens = true
  end

  def at_a_body_that_waits
    ask("/gate")
    read("first\n")
    @opens = true
  end

  def at_the_wish_for_the_connection
    ask("/hijack", UPGRADE)
    a_moment
  end

  def at_the_hijacked_connection
    ask("/hijack", UPGRADE, "early\n")
    read("|")
    @socket.write("word\nhalf a w")
    @rng.rand(2).zero? ? read("word\n") : a_moment
  end

  def at_a_head_of_the_apps
    ask("/partial")
    a_moment
  end

  def at_a_connection_given_back
    ask("/return", UPGRADE, "line\nGET /each?n=2 HTTP/1.1\r\nHost: x\r\n\r\n")
    @rng.rand(2).zero? ? read("0\r\n\r\n") : a_moment
  end

  def at_one_of_many
    targets = %w[/each?n=2&size=9000 /slow_handler?ms=1 /call?n=2 /hello /hijack /each?n=1 /raise]
    @socket.write(Array.new(6) { "GET #{targets.sample(random: @rng)} HTTP/1.1\r\nHost: x\r\n\r\n" }.join)
    a_moment
  end
end

def counts(server)
  JSON.parse(Http.request(server.port, "GET", "/counts").body).tap { |c| c.default = 0 }
end

def worker(server)
  eventually("mold and worker") { server.workers.size == 2 }
  server.workers.find { |pid| File.read("/proc/#{pid}/cmdline").include?("worker") } || server.workers.max
end

def memory_kib(pid) = File.read("/proc/#{pid}/status")[/^VmRSS:\s+(\d+)/, 1].to_i
def descriptors(pid) = Dir.children("/proc/#{pid}/fd").size

def rounds(server, nr)
  stages = Leaver.stages
  seed = Random.new_seed % (1 << 32)
  Tap.comment("seed #{seed}, #{nr} clients, #{stages.size} stages")
  Array.new(CLIENTS) do |i|
    Thread.new do
      leaver = Leaver.new(server.port, Random.new(seed + i))
      (i...nr).step(CLIENTS) { |n| leaver.leave(stages[n / CLIENTS % stages.size]) }
    end
  end.each(&:value)
end

BALANCE = [%w[made closed], %w[asked told], %w[hijacked hijack_closed]].freeze

# All that was begun has ended.
def settled(server)
  now = nil
  eventually("every body to be closed, everybody to be told", seconds: 30) do
    now = counts(server)
    BALANCE.all? { |begun, ended| now[begun] == now[ended] }
  end
  now
rescue Tap::Failed => e
  flunk("#{e.message}: #{now}")
end

test "clients that leave at every stage", seconds: 60 + ROUNDS / 10 do
  server = Server.start("-w", 1, "-t", 4, "--no-log-requests", APP, env: Gems.bundle("rack3").merge("COLLECT" => "1"))
  pid = worker(server)
  rounds(server, [ROUNDS / 3, 2000].min)
  settled(server)
  before = [descriptors(pid), memory_kib(pid)]
  rounds(server, ROUNDS)
  now = settled(server)
  eventually("descriptors: #{before[0]} before") { descriptors(pid) <= before[0] }
  after = [descriptors(pid), memory_kib(pid)]
  Tap.comment("descriptors, KiB: #{before} before, #{after} after; #{now}")
  assert_equal [0, 0], now.values_at("closed_again", "told_again")
  assert now["told_of_error"] > ROUNDS / 10, "hardly anybody has left early"
  assert now["hijacked"] > ROUNDS / 20, "hardly anything was hijacked"
  assert after[1] - before[1] < 8192, "#{after[1] - before[1]} KiB more memory"
  assert_equal pid, worker(server), "the worker was replaced"
  assert server.stop.success?
  refute_match(/AddressSanitizer|assert|worker.*(killed|died)/i, server.log)
end
