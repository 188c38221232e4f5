# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One process, so many threads; -V 1 leaves only errors in its log, requests are not logged.
{ 'iodine-1': 1, 'iodine-5': 5 }.each do |name, threads|
  Lab.peer name do
    title "iodine, -t #{threads}"
    binary 'gem/iodine'
    offers Lab::RACK
    command do |s|
      s.ruby(s.program, '-b', '127.0.0.1', '-p', s.port.to_s, '-w', '1', '-t', threads.to_s, '-V', '1', s.app)
    end
  end
end
