# SPDX-License-Identifier: MIT
# frozen_string_literal: true

{ file1k: ['GET of a file of 1 KiB', 100], file64k: ['GET of a file of 64 KiB', 50],
  file1m: ['GET of a file of 1 MiB', 20], file100m: ['GET of a file of 100 MiB', 4] }.each do |name, (title, connections)|
  size = Lab::Files::SIZES.fetch(name)
  Lab.case name, title: "#{title}, #{connections} kept connections", resource: name, connections: connections,
                 quick: name == :file64k,
                 expect: ->(body) { body.bytesize == size }
end
