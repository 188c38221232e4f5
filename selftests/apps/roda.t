#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A Roda app, with and without Rack::Lint, on threads and on the I/O thread.

require_relative "../harness/tap"
require_relative "gems"
require_relative "roda_checks"

APP = File.join(__dir__, "roda.ru")
VARIANTS = {
  "production" => %w[-e production -w 2 -t 5],
  "development" => %w[-e development -w 1 -t 2],
  "inline" => %w[-e production -w 1 -t 0],
}.freeze

VARIANTS.each do |label, args|
  events = File.realpath(Dir.mktmpdir("events"))
  at_exit { FileUtils.rm_rf(events) }
  unless ARGV.first == "--list" || !Gems.installed?("rack3")
    server = Server.start(*args, "--no-log-requests", APP, env: Gems.bundle("rack3").merge("EVENTS" => events))
  end
  RodaChecks.new(label, server, events, inline: label == "inline").define
  server&.stop
  server&.kill
end
