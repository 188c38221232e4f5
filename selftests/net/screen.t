#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The interactive hyperion-top, driven on a terminal of its own.

require_relative "top"

# hyperion-top in a window of tmux.
class Screen
  def initialize(instance, folder, columns: 80, rows: 24, env: {})
    @socket = "hyperion-#{Process.pid}-#{rand(1_000_000)}"
    words = { "XDG_RUNTIME_DIR" => folder, "LC_ALL" => "C.UTF-8" }.merge(env).map { |k, v| "#{k}=#{v}" }
    # The window stays when the program ends, and shows how.
    tmux("new-session", "-d", "-x", columns.to_s, "-y", rows.to_s, "env", *words, "sh", "-c",
         "#{TOP} --instance #{instance} --interval 0.1; echo ended=$?; sleep 60")
  end

  def text
    tmux("capture-pane", "-p")
  end

  def rows
    text.lines.map(&:rstrip)
  end

  # The first words behind the numbers of each row of the table of routes.
  def routes
    rows.drop_while { |row| !row.match?(/ROUTE$/) }.drop(1).take_while { |row| !row.empty? }.map { |row| row.split.last(2).join(" ") }
  end

  def type(*keys)
    tmux("send-keys", *keys)
  end

  def resize(columns, rows)
    tmux("resize-window", "-x", columns.to_s, "-y", rows.to_s)
  end

  def end
    tmux("kill-server")
  end

  private

  def tmux(*words)
    Open3.capture2e("tmux", "-L", @socket, "-f", File::NULL, *words).first
  end
end

def screen(server, folder, **how)
  needs("tool", "tmux")
  screen = Screen.new(server.instance, folder, **how)
  Tap.after { screen.end }
  screen
end

def wait_for(screen, pattern)
  eventually("the screen to show #{pattern.inspect}:\n#{screen.text}") { screen.text.match?(pattern) }
end

# Asks for each path in turn until the case ends; more often for the first ones.
def load(server, *paths)
  thread = Thread.new do
    client = Client.new(server.connect)
    loop do
      paths.each_with_index { |path, i| (paths.size - i).times { client.get(path) or Thread.exit } }
      sleep 0.01
    end
  rescue SystemCallError, Client::Cut
    nil # the server is gone
  end
  Tap.after { thread.kill }
end

PATHS = %w[/alpha /beta /gamma].freeze

def serve_three
  server, folder = serve_counted("-w", 2, *PATHS.flat_map { |path| ["--constant", "#{path}=x"] })
  load(server, *PATHS)
  [server, folder]
end

test "rows by rate; by name, reversed; back", seconds: 20 do
  server, folder = serve_three
  top = screen(server, folder)
  eventually("rows by rate") { top.routes == ["GET /alpha", "GET /beta", "GET /gamma"] }
  assert_match(/\A#{server.instance}  hyperion-bpf \d\S+  pid #{server.pid} /, top.text) unless Server::MODE == "nobody"
  top.type("S")
  wait_for(top, /^sort name /)
  top.type("r")
  wait_for(top, /^sort name \(reversed\)/)
  eventually("names from behind") { top.routes == ["GET /gamma", "GET /beta", "GET /alpha"] }
  assert_equal [], top.rows.select { |row| row.size > 80 }
end

test "a filter, one route's histogram, the help", seconds: 20 do
  server, folder = serve_three
  top = screen(server, folder)
  wait_for(top, %r{GET /gamma$})
  top.type("/", "et", "a")
  wait_for(top, /^show routes that contain: eta_/)
  top.type("Enter")
  eventually("one row") { top.routes == ["GET /beta"] }
  top.type("Enter")
  wait_for(top, /^histogram of total /)
  assert_match(%r{^GET /beta\n2xx \d+ +since the start \d+$}, top.text)
  wait_for(top, /(us| 0) \.\. +\S+s +\d+ █/)
  top.type("t", "t", "t")
  wait_for(top, /^histogram of send /)
  top.type("Enter")
  wait_for(top, /^sort rate  filter eta /)
  top.type("?")
  wait_for(top, /^  q +quit$/)
  top.type("x", "/", "Escape")
  eventually("all rows") { top.routes.size == 3 }
  top.type("w")
  wait_for(top, /WORKER +PID STATE.*STALLS\n +0 .*\n +1 /)
end

test "the bar goes down and stays with its route; a pause holds the numbers", seconds: 20 do
  server, folder = serve_three
  top = screen(server, folder)
  eventually("rows") { top.routes.size == 3 }
  top.type("Down", "Down", "Enter")
  wait_for(top, %r{^GET /gamma$})
  top.type("Enter", "p")
  wait_for(top, /\[paused\]$/)
  seen = top.text
  sleep 0.4
  assert_equal seen, top.text
  top.type("p")
  eventually("it to go on") { top.text != seen && !top.text.include?("[paused]") }
end

test "smaller and larger windows", seconds: 20 do
  server, folder = serve_three
  top = screen(server, folder)
  wait_for(top, %r{GET /gamma$})
  top.resize(130, 40)
  wait_for(top, %r{BYTES/S +2XX/S +4XX/S +ROUTE$})
  top.resize(40, 8)
  eventually("fewer rows") { top.rows.size <= 8 && top.rows.any? { |row| row.start_with?("sort rate") } }
  top.resize(80, 24)
  eventually("all rows") { top.routes.size == 3 && !top.text.include?("BYTES/S") }
end

test "without colours and UTF-8 it is the same in ASCII", seconds: 20 do
  server, folder = serve_three
  top = screen(server, folder, env: { "LC_ALL" => "C", "TERM" => "vt100", "NO_COLOR" => "1" })
  eventually("rows") { top.routes.size == 3 }
  top.type("Enter")
  wait_for(top, /(us| 0) \.\. +\S+s +\d+ #/)
  assert top.text.ascii_only?
end

test "the server stops and comes back, q ends it", seconds: 30 do
  server, folder = serve_three
  top = screen(server, folder)
  wait_for(top, %r{GET /gamma$})
  server.stop
  wait_for(top, /no server of the instance #{server.instance} runs here/)
  top.type("w", "/", "Enter")
  again = Server.start("-w", 1, "--no-log-requests", "--constant", "/delta=x", "--instance", server.instance,
                       env: { "XDG_RUNTIME_DIR" => folder })
  load(again, "/delta")
  eventually("the new one's routes") { top.routes == ["GET /delta"] }
  top.type("q")
  wait_for(top, /^ended=0$/)
end
