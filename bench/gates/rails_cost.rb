# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Nearly all of the cost is Rails' own, and the more an answer needs of it, the less the servers differ.
Lab.gate :'rails-page' do
  says 'a Rails page costs less than with puma'
  on :rails_page
  ratio :'hyperion-t5', :'puma-5', at_most: 0.9
end

Lab.gate :'rails-page-rate' do
  says 'as many Rails pages each second as with puma'
  on :rails_page
  rate :'hyperion-t5', :'puma-5', at_least: 1.0
end

Lab.gate :'rails-api' do
  says 'an answer of a Rails API with ten rows of SQLite costs no more than with puma'
  on :rails_api
  ratio :'hyperion-t5', :'puma-5', at_most: 1.0
end
