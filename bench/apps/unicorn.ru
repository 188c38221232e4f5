# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# unicorn and pitchfork leave Content-Length to the app; without it clients cannot tell a whole answer from a broken one.
require 'rack'

use Rack::ContentLength
run Rack::Builder.parse_file(ENV.fetch('LAB_APP'))
