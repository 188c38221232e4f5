# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One process per request, and a connection for each: neither keeps any. They are made to stand behind a proxy.
%w[unicorn pitchfork].each do |name|
  Lab.peer name.to_sym do
    title "#{name}, no kept connections"
    binary "gem/#{name}"
    offers Lab::RACK
    offers Lab::RAILS
    offers Lab::Files::PATHS
    speaks :workers
    lacks pipelined16: 'closes each connection after its answer'
    command do |s|
      settings = s.write("#{name}.rb", "worker_processes #{s.workers}\nlisten '#{s.address}', backlog: 4096\ntimeout 60\n")
      app = s.app
      s.ruby("LAB_APP=#{app}", s.program, '-E', 'none', '-c', settings, File.join(Lab::ROOT, 'bench/apps/unicorn.ru'))
    end
  end
end
