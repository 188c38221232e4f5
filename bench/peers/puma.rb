# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One process (no cluster) where one worker is asked for, so many threads.
{ 'puma-1': 1, 'puma-5': 5 }.each do |name, threads|
  Lab.peer name do
    title "puma, -t #{threads}:#{threads}"
    binary 'gem/puma'
    offers Lab::RACK
    speaks :tls, :workers
    if threads == 5
      offers Lab::RAILS
      offers Lab::Files::PATHS
    else
      variant true
    end
    command do |s|
      bind = s.tls ? "ssl://#{s.address}?cert=#{s.tls.cert}&key=#{s.tls.key}&verify_mode=none" : "tcp://#{s.address}"
      s.ruby(s.program, '--no-config', '-q', '-e', 'production', '-w', s.workers > 1 ? s.workers.to_s : '0',
             '-t', "#{threads}:#{threads}", '-b', bind, s.app)
    end
  end
end
