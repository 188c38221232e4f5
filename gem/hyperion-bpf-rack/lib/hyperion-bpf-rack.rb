# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# What Bundler.require loads in an app. `require "hyperion"` is the server program's own and not ours.

require_relative "hyperion_bpf/railtie" if defined?(Rails::Railtie)
