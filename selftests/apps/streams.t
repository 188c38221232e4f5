#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Bodies that answer call, hijack, early hints and response_finished, with and without Rack::Lint.

require_relative "../harness/tap"
require_relative "gems"
require_relative "streams_checks"

APP = File.join(__dir__, "streams.ru")
VARIANTS = {
  "production" => %w[-e production -w 1 -t 2],
  "development" => %w[-e development -w 1 -t 2],
}.freeze

VARIANTS.each do |label, args|
  notes = File.realpath(Dir.mktmpdir("notes"))
  at_exit { FileUtils.rm_rf(notes) }
  unless ARGV.first == "--list" || !Gems.installed?("rack3")
    server = Server.start(*args, "--no-log-requests", APP, env: Gems.bundle("rack3").merge("NOTES" => notes))
  end
  StreamsChecks.new(label, server, notes).define
  server&.stop
  server&.kill
end
