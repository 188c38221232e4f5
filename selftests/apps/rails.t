#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A Rails 7.2 app as it is: in production and development, loaded before and after the fork, on threads
# and on the I/O thread.

require "tmpdir"
require_relative "../harness/tap"
require_relative "gems"
require_relative "rails_checks"

VARIANTS = {
  "production" => %w[-e production -w 2 -t 5],
  "development" => %w[-e development -w 1 -t 5],
  "no preload" => %w[-e production -w 2 -t 1 --no-preload],
  "inline" => %w[-e production -w 2 -t 0],
}.freeze

VARIANTS.each do |label, args|
  folder = Gems.copy("rails")
  unless ARGV.first == "--list" || !Gems.installed?("rails")
    server = Server.start(*args, "--no-log-requests", "config.ru", env: Gems.bundle("rails"), chdir: folder)
  end
  workers, threads = %w[-w -t].map { |flag| args[args.index(flag) + 1].to_i }
  RailsChecks.new(label, server, folder, development: label == "development", workers: workers, inline: threads.zero?).define
  server&.stop
  server&.kill
end
