# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.peer :itsi do
  title 'itsi, 5 threads'
  package 'itsi-server'
  binary 'gem/itsi'
  offers Lab::RACK
  offers Lab::Files::PATHS
  speaks :tls, :h2, :workers
  lacks websocket: 'an app would have to take the socket'
  command do |s|
    bind = s.tls ? "#{s.url}?cert=#{s.tls.cert}&key=#{s.tls.key}" : s.url
    s.ruby('ITSI_LOG=error', s.program, 'serve', '-w', s.workers.to_s, '-t', '5', '-r', s.app, '-b', bind)
  end
end
