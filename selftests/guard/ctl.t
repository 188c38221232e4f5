#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The guard's lists by hyperion-ctl, while it runs: real clients are denied and let in again.

require_relative "netns"
require_relative "../procs/ctl"

CLIENTS = %w[10.77.0.2/24 10.77.0.3/24 fd77::2/64 fd77::3/64].freeze

def served?(net, from)
  net.get(from: from, to: from.include?(":") ? Net::V6 : Net::V4, port: Net::PORT) == "hi"
end

def guarded(*args)
  net = Net.new(clients: CLIENTS)
  server = net.serve("-b", "tcp://[#{Net::V6}]:#{Net::PORT}", "--attach", "g0", *args)
  eventually("its socket") { server.control }
  [net, server]
end

# [stdout, exit status]
def say(server, *words)
  out, err, code = run_ctl("-i", server.instance, *words)
  assert_equal "", err, words.join(" ")
  [out, code]
end

def entries(server, list)
  server.ctl("lists").fetch(list).to_h { |e| [e["cidr"], e["expires_in_s"]] }
end

test "deny, allow, forget, lists", seconds: 30 do
  net, server = guarded("--guard-mode", "generic")
  assert_equal [{ "interface" => "g0", "mode" => "generic" }], server.status["guard"]
  assert_equal ["nothing is denied, nothing allowed\n", 0], say(server, "lists")
  assert served?(net, "10.77.0.2")
  assert_equal ["deny 10.77.0.0/24\n", 0], say(server, "deny", "10.77.0.0/24")
  refute served?(net, "10.77.0.2")
  assert served?(net, "fd77::2")
  say(server, "deny", "fd77::2")
  say(server, "allow", "10.77.0.3")
  assert_equal [false, true, false, true], %w[10.77.0.2 10.77.0.3 fd77::2 fd77::3].map { |a| served?(net, a) }
  assert_equal [{ "10.77.0.0/24" => nil, "fd77::2" => nil }, { "10.77.0.3" => nil }], %w[deny allow].map { |l| entries(server, l) }
  lists = server.ctl("lists")
  assert_equal false, lists["more"]
  assert lists["deny"].all? { |e| e["hits"].positive? }, lists
  assert_match(/^deny  10\.77\.0\.0\/24 +[1-9]\d* hits$/, say(server, "lists")[0])
  # From one list into the other.
  say(server, "deny", "10.77.0.3")
  assert_equal({}, entries(server, "allow"))
  refute served?(net, "10.77.0.3")
  %w[10.77.0.3 10.77.0.0/24 fd77::2].each { |cidr| assert_equal ["forget #{cidr}\n", 0], say(server, "forget", cidr) }
  assert_equal [true] * 4, %w[10.77.0.2 10.77.0.3 fd77::2 fd77::3].map { |a| served?(net, a) }
  _, err, code = run_ctl("-i", server.instance, "forget", "10.77.0.3")
  assert_equal [1, "hyperion-ctl: 10.77.0.3 is in neither list\n"], [code, err]
  _, err, code = run_ctl("-i", server.instance, "deny", "10.77.0.3/24")
  assert_equal 1, code
  assert_match(/a prefix whose other bits are 0/, err)
end

test "for a time: it ends by itself", seconds: 30 do
  net, server = guarded("--guard-deny", "10.77.0.3")
  assert_equal ["deny 10.77.0.2 for 2 s\n", 0], say(server, "deny", "10.77.0.2", "for", "2s")
  refute served?(net, "10.77.0.2")
  say(server, "allow", "10.77.0.3", "for", "10m")
  assert served?(net, "10.77.0.3")
  left = entries(server, "allow").fetch("10.77.0.3")
  assert left.between?(590, 600), left.to_s
  eventually("its end", seconds: 10) { served?(net, "10.77.0.2") }
  eventually("the list without it") { entries(server, "deny") == {} }
  assert_match(/^allow 10\.77\.0\.3 +\d+ hits, ends in (10m 0s|9m \d+s)$/, say(server, "lists")[0])
end

test "more entries than an answer shows", seconds: 40 do
  _, server = guarded("--no-log-requests")
  socket = server.dial
  6000.times do |i|
    answer = answer_to(socket, asking("deny", cidr: "10.#{i / 200}.#{i % 200}.1"))
    assert_equal true, answer["ok"], answer
  end
  lists = server.ctl("lists")
  assert_equal [5000, true], [lists["deny"].size, lists["more"]]
  assert_match(/\.\.\. and more$/, say(server, "lists")[0])
end

test "who may only read sees the lists and changes nothing", seconds: 20 do
  _, server = guarded("--control-group", "daemon", "--guard-deny", "10.77.0.3")
  ctl = File.join(open_folder, "hyperion-ctl")
  FileUtils.cp(CTL, ctl)
  member = ["setpriv", "--reuid", Server::NOBODY.to_s, "--regid", Server::NOBODY.to_s,
            "--groups", Etc.getgrnam("daemon").gid.to_s, ctl, "-i", server.instance]
  out, status = Open3.capture2e(*member, "lists")
  assert_equal 0, status.exitstatus, out
  assert_match(/^deny  10\.77\.0\.3/, out)
  [%w[deny 10.77.0.2], %w[allow 10.77.0.2], %w[forget 10.77.0.3]].each do |words|
    out, status = Open3.capture2e(*member, *words)
    assert_equal 4, status.exitstatus, out
  end
  assert_equal({ "10.77.0.3" => nil }, entries(server, "deny"))
end
