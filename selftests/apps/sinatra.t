#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A Sinatra 4 app, with and without Rack::Lint, loaded before and after the fork, from a Gemfile.

require_relative "../harness/tap"
require_relative "gems"
require_relative "sinatra_checks"

APP = File.join(__dir__, "sinatra.ru")
VARIANTS = {
  "production" => %w[-e production -w 2 -t 5],
  "development" => %w[-e development -w 1 -t 2],
  "no preload" => %w[-e production -w 2 -t 1 --no-preload],
  "inline" => %w[-e production -w 1 -t 0],
}.freeze

VARIANTS.each do |label, args|
  events = File.realpath(Dir.mktmpdir("events"))
  at_exit { FileUtils.rm_rf(events) }
  server = Server.start(*args, "--no-log-requests", APP, env: Gems.bundle("rack3").merge("EVENTS" => events)) unless ARGV.first == "--list"
  SinatraChecks.new(label, server&.port, events, inline: label == "inline").define
  server&.stop
  server&.kill
end
