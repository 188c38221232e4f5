# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'json'

Lab.case :rails_api, title: 'Rails API: ten rows of SQLite as JSON, 50 kept connections', resource: :rails_api, connections: 50,
                     expect: ->(body) { JSON.parse(body).size == 10 }
