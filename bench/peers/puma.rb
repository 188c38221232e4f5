# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One process (no cluster), so many threads.
{ 'puma-1': 1, 'puma-5': 5 }.each do |name, threads|
  Lab.peer name do
    title "puma, -t #{threads}:#{threads}"
    binary 'gem/puma'
    offers Lab::RACK
    offers Lab::RAILS if threads == 5
    command do |s|
      s.ruby(s.program, '--no-config', '-q', '-e', 'production', '-w', '0', '-t', "#{threads}:#{threads}",
             '-b', "tcp://127.0.0.1:#{s.port}", s.app)
    end
  end
end
