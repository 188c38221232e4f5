# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# `rackup -s hyperion` and `rails server -u hyperion` with Rack 3.

require "rackup/handler"
require_relative "../../hyperion_bpf/launch"

module Rackup
  module Handler
    module Hyperion
      extend HyperionBPF::Handler
    end

    register :hyperion, Hyperion
  end
end
