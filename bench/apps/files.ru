# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# What Rack has for files, for servers that have nothing else.
require 'rack'

files = Rack::Files.new(ENV.fetch('LAB_FILES'), { 'cache-control' => 'no-cache' })
run lambda { |env|
  files.call(env.merge('PATH_INFO' => env['PATH_INFO'].delete_prefix('/files')))
}
