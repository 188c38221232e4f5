# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :rack_hello, title: 'GET answered by a Rack lambda, 100 kept connections', resource: :hello, quick: true
