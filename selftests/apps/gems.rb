# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The gems that tools/deps has installed for the apps here; HYPERION_GEMS names another place.

require "fileutils"
require "rbconfig"
require "tmpdir"

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

  # Whether they are there; without a network they may not be.
  def installed?(name)
    system(bundle(name), RbConfig.ruby, "-S", "bundle", "check", out: File::NULL, err: File::NULL) == true
  end

  # A copy of the folder apps/@name that an app may write into. Ends with the script.
  def copy(name)
    folder = File.realpath(Dir.mktmpdir(name))
    at_exit { FileUtils.rm_rf(folder) }
    FileUtils.cp_r(File.join(__dir__, name, "."), folder)
    folder
  end

  # Nothing of a `bundle exec` around the test itself.
  def outside
    %w[BUNDLE_GEMFILE BUNDLE_PATH BUNDLE_BIN_PATH BUNDLER_VERSION RUBYOPT RUBYLIB RACK_ENV].to_h { |name| [name, nil] }
  end
end
