# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Servers whose statistics a test reads, and hyperion-top on them. What lies in files lies in a folder
# of the test's, so that it does not matter who runs which.

require_relative "client"
require "json"
require "open3"

TOP = File.expand_path(File.join(Server::BUILD, "hyperion-top"), Server::ROOT)

# [server, its XDG_RUNTIME_DIR]
def serve_counted(*args, **how)
  folder = Dir.mktmpdir("hyperion-stats")
  File.chmod(0o777, folder)
  Tap.after { FileUtils.remove_entry(folder, true) }
  [Server.start("--no-log-requests", *args, env: { "XDG_RUNTIME_DIR" => folder }, **how), folder]
end

# [stdout, stderr, exit status]
def run_top(instance, folder, *args, before: [])
  out, err, status = Open3.capture3({ "XDG_RUNTIME_DIR" => folder }, *before, TOP, "--instance", instance, *args)
  [out, err, status.exitstatus]
end

def top(server, folder, *args)
  out, err, status = run_top(server.instance, folder, "--once", "--json", *args)
  assert_equal [0, ""], [status, err]
  JSON.parse(out)
end

# { "GET /path" => { "2xx" => 3 } }, without what is 0
def counts(reading)
  reading["routes"].to_h do |r|
    ["#{r["method"]} #{r["route"]}", r["status"].reject { |_, n| n.zero? }]
  end
end
