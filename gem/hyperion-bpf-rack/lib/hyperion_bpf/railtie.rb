# frozen_string_literal: true
# SPDX-License-Identifier: MIT

module HyperionBPF
  # `rails server` shows Rails' log on the terminal, too. It arranges that in a process that is gone
  # when the program starts (launch.rb), so the app does it again.
  class Railtie < Rails::Railtie
    config.after_initialize do
      if ENV["HYPERION_RAILS_STDOUT"] && !ActiveSupport::Logger.logger_outputs_to?(Rails.logger, $stdout, $stderr)
        console = ActiveSupport::Logger.new($stdout)
        console.formatter = Rails.logger.formatter
        console.level = Rails.logger.level
        Rails.logger.broadcast_to(console)
      end
    end
  end
end
