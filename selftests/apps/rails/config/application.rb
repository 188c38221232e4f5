# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A small Rails app with what servers get wrong in it. rails_checks.rb says what is to be seen of it.
# The tests run a copy of the folder: Rails writes into its own.

require_relative "boot"

require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"

Bundler.require(*Rails.groups)

module Notebook
  class Application < Rails::Application
    config.load_defaults 7.2
    config.secret_key_base = "not a secret, but long enough to be taken for one: #{"x" * 64}"
    config.hosts.clear
    config.log_tags = [:request_id]
    config.active_support.report_deprecations = false

    config.enable_reloading = Rails.env.development?
    config.eager_load = Rails.env.production?
    config.consider_all_requests_local = Rails.env.development?
    config.action_controller.perform_caching = Rails.env.production?

    # In place of migrations. Workers that load the app each for itself come here at the same time.
    config.after_initialize do
      File.open(Rails.root.join("tmp/schema.lock"), File::CREAT | File::RDWR) do |lock|
        lock.flock(File::LOCK_EX)
        ActiveRecord::Base.with_connection do |db|
          db.create_table(:notes, if_not_exists: true) do |t|
            t.string :title, null: false
            t.text :text
            t.timestamps
          end
        end
      end
    end
  end
end
