# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# `rackup -s hyperion` and `rails server -u hyperion` with Rack 2.

require "rack/handler"
require_relative "../../hyperion_bpf/launch"

module Rack
  module Handler
    module Hyperion
      extend HyperionBPF::Handler
    end

    register :hyperion, "Rack::Handler::Hyperion"
  end
end
