#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Every kind of body, upload and failure: with Rack 2 and 3, with and without Rack::Lint, on threads
# and on the I/O thread.

require_relative "../harness/tap"
require_relative "gems"
require_relative "bodies_checks"

APP = File.join(__dir__, "bodies.ru")
VARIANTS = [
  ["rack3", "production", 5], ["rack3", "development", 5], ["rack2", "production", 1], ["rack2", "development", 2],
  ["rack3", "production", 0]
].freeze

listing = ARGV.first == "--list"
VARIANTS.each do |gems, environment, threads|
  Dir.mktmpdir("bodies") do |folder|
    closes = File.join(folder, "closes")
    unless listing
      server = Server.start("-w", 1, "-t", threads, "-e", environment, "--no-log-requests", APP, env: Gems.bundle(gems).merge("CLOSES" => closes))
    end
    BodiesChecks.new("#{gems} #{environment} -t #{threads}", server&.port, closes,
                     lint: environment == "development", rack: gems[/\d/].to_i, inline: threads.zero?) { server.log }.define
    server&.stop
    server&.kill
  end
end
