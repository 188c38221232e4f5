# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The gems that tools/deps has installed for the apps here; HYPERION_GEMS names another place.

module Gems
  ROOT = File.expand_path("../..", __dir__)
  PATH = File.expand_path(ENV.fetch("HYPERION_GEMS", "build/bundle"), ROOT)

  module_function

  # Environment of a process that is to use the Gemfile of apps/@name.
  def bundle(name)
    outside.merge("BUNDLE_GEMFILE" => File.join(__dir__, name, "Gemfile"), "BUNDLE_PATH" => PATH)
  end

  # ...that is to find all of them, without any Gemfile.
  def path
    outside.merge("GEM_PATH" => Dir[File.join(PATH, "ruby", "*")].join(":"))
  end

  # Nothing of a `bundle exec` around the test itself.
  def outside
    %w[BUNDLE_GEMFILE BUNDLE_PATH BUNDLE_BIN_PATH BUNDLER_VERSION RUBYOPT RUBYLIB RACK_ENV].to_h { |name| [name, nil] }
  end
end
