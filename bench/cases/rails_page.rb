# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :rails_page, title: 'Rails page: ERB template and layout, session with its token, 50 kept connections',
                      resource: :rails_page, connections: 50, expect: ->(body) { body.include?('<li>Honest</li>') }
