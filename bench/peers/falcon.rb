# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One fibre per request on the scheduler of async; its own file of settings, as `falcon serve` cannot be given a certificate.
Lab.peer :falcon do
  title 'falcon, fibres'
  binary 'gem/falcon'
  offers Lab::RACK
  offers Lab::RAILS
  offers Lab::Files::PATHS
  speaks :tls, :h2, :websocket, :workers
  command do |s|
    settings = s.write('falcon.rb', File.read(File.join(Lab::ROOT, 'bench/apps/falcon.rb')))
    s.ruby("LAB_URL=#{s.url}", "LAB_APP=#{s.app}", "LAB_WORKERS=#{s.workers}", "LAB_CERT=#{s.tls&.cert}", "LAB_KEY=#{s.tls&.key}",
           'CONSOLE_LEVEL=error', s.program, 'host', settings)
  end
end
