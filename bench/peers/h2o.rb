# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One thread without a log; paths: what is at "/" or below.
h2o_conf = lambda do |s, paths|
  tls = s.tls ? ", ssl: {certificate-file: #{s.tls.cert}, key-file: #{s.tls.key}}" : ''
  conf = s.write('h2o.conf', <<~CONF)
    #{Process.uid.zero? ? 'user: root' : ''}
    num-threads: 1
    max-connections: 16384
    listen: {host: #{s.host}, port: #{s.port}#{tls}}
    hosts:
      "*":
        paths: {#{paths}}
  CONF
  [s.program, '-m', 'worker', '-c', conf]
end

# The cheapest 200 that h2o's configuration can give: a small file out of its cache of open files
# (7.4 us here; its embedded mruby takes 8.8).
Lab.peer :h2o do
  title 'h2o, a three-byte file'
  package 'h2o'
  binary 'h2o'
  version_args %w[-v]
  offers constant: '/', hello: '/'
  speaks :tls, :h2
  command { |s| h2o_conf.call(s, %("/": {file.file: "#{s.write('ok.txt', Lab::BODY)}"})) }
end

Lab.peer :'h2o-files' do
  title 'h2o, static files'
  package 'h2o'
  binary 'h2o'
  version_args %w[-v]
  offers Lab::Files::PATHS
  speaks :tls, :h2
  command { |s| h2o_conf.call(s, %("/files": {file.dir: "#{Lab::Files.folder}"})) }
end
