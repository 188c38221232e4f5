# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# hyperion-ctl as a test calls it, and the lines that it would send.

require_relative "app"
require "json"
require "open3"

CTL = File.expand_path(File.join(Server::BUILD, "hyperion-ctl"), Server::ROOT)

# [stdout, stderr, exit status]
def run_ctl(*words, before: [], env: {})
  out, err, status = Open3.capture3({ "HYPERION_INSTANCE" => nil }.merge(env), *before, CTL, *words.map(&:to_s))
  [out, err, status.exitstatus]
end

class Server
  # Where its control socket is; nil: there is none.
  def control
    ["/run/hyperion", "/dev/shm/hyperion-#{NOBODY}", "/dev/shm/hyperion-#{Process.uid}"]
      .map { |base| File.join(base, instance, "control") }.find { |path| File.socket?(path) }
  end

  # What hyperion-ctl says to @words, as JSON: { "ok" => true, ... }
  def ctl(*words)
    out, err, status = run_ctl("-i", instance, "--json", *words)
    raise Tap::Failed, "#{words.join(" ")}: #{status} #{err}" unless err.empty?

    JSON.parse(out)
  end

  def status
    ctl("status")
  end

  # Index => pid of those that serve, by what it says itself.
  def serving
    status["workers"].select { |w| w["state"] == "serving" }.to_h { |w| [w["worker"], w["pid"]] }
  end

  # A connection to its control socket, which goes with the case.
  def dial
    socket = UNIXSocket.new(control)
    Tap.after { socket.close }
    socket
  end
end

# The answer to one line, nil when the server has hung up.
def answer_to(socket, line)
  socket.write(line, "\n")
  next_answer(socket)
end

def next_answer(socket)
  line = socket.gets
  line && JSON.parse(line)
end

def asking(command, **rest)
  JSON.generate({ v: 1, command: command }.merge(rest))
end

def error_code(answer)
  answer.fetch("error").fetch("code")
end
