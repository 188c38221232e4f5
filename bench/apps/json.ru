# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Fifty keys, made for each request: strings, numbers, a list, a nested object.
require 'json'

run lambda { |env|
  facts = { 'path' => env['PATH_INFO'], 'tags' => %w[a b c], 'nested' => { 'x' => 1, 'y' => 2.5, 'z' => nil } }
  47.times { |i| facts["key_#{i}"] = i.even? ? i * 1.5 : "value #{i}" }
  [200, { 'content-type' => 'application/json' }, [JSON.generate(facts)]]
}
