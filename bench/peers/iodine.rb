# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# So many threads in each process; -V 1 leaves only errors in its log, requests are not logged. It serves files itself (-www).
{ 'iodine-1': 1, 'iodine-5': 5 }.each do |name, threads|
  Lab.peer name do
    title "iodine, -t #{threads}"
    binary 'gem/iodine'
    offers Lab::RACK
    speaks :tls, :websocket, :workers
    if threads == 5
      offers Lab::RAILS
    offers Lab::Files::PATHS.transform_values { |path| path.delete_prefix('/files') }
    else
      variant true
    end
    command do |s|
      tls = s.tls ? ['-tls-cert', s.tls.cert, '-tls-key', s.tls.key] : []
      files = Lab::Files::PATHS.key?(s.resource) ? ['-www', Lab::Files.folder] : []
      s.ruby(s.program, '-b', s.host, '-p', s.port.to_s, '-w', s.workers.to_s, '-t', threads.to_s, '-V', '1', *tls, *files, s.app)
    end
  end
end
