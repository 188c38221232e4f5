# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Started by a script, as its own program knows no Rack::Builder.
Lab.peer :agoo do
  title 'agoo, 5 threads'
  binary 'gem/agoo'
  offers Lab::RACK
  offers Lab::RAILS
  offers Lab::Files::PATHS.transform_values { |path| path.delete_prefix('/files') }
  speaks :tls, :websocket, :workers
  command do |s|
    files = Lab::Files::PATHS.key?(s.resource) ? Lab::Files.folder : s.dir
    s.ruby('ruby', File.join(Lab::ROOT, 'bench/apps/agoo.rb'), s.url, files, s.workers.to_s, s.app, s.tls&.cert.to_s, s.tls&.key.to_s)
  end
end
