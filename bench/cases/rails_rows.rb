# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :rails_rows, title: 'Rails page with ten rows of SQLite, links and a form with its token, 50 kept connections',
                      resource: :rails_rows, connections: 50, expect: ->(body) { body.scan(%r{<li><a href="/notes/\d+">Note \d+</a>}).size == 10 }
