# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

Lab.case :rack_json, title: 'JSON of 50 keys made for each request, 100 kept connections', resource: :json,
                     expect: ->(body) { JSON.parse(body).size == 50 }
