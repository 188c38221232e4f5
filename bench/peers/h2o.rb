# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# The cheapest 200 that h2o's configuration can give: a small file out of its cache of open files
# (7.4 us here; its embedded mruby takes 8.8).
Lab.peer :h2o do
  title 'h2o, a three-byte file'
  package 'h2o'
  binary 'h2o'
  version_args %w[-v]
  offers constant: '/'
  command do |s|
    file = s.write('ok.txt', Lab::BODY)
    user = Process.uid.zero? ? "user: root\n" : ''
    conf = s.write('h2o.conf', <<~CONF)
      #{user}num-threads: 1
      max-connections: 16384
      listen: {host: 127.0.0.1, port: #{s.port}}
      hosts:
        "*":
          paths:
            "/":
              file.file: #{file}
    CONF
    [s.program, '-m', 'worker', '-c', conf]
  end
end

Lab.peer :'h2o-files' do
  title 'h2o, static files'
  package 'h2o'
  binary 'h2o'
  version_args %w[-v]
  offers Lab::Files::PATHS
  command do |s|
    user = Process.uid.zero? ? "user: root\n" : ''
    conf = s.write('h2o.conf', <<~CONF)
      #{user}num-threads: 1
      max-connections: 16384
      listen: {host: 127.0.0.1, port: #{s.port}}
      hosts:
        "*":
          paths:
            "/files":
              file.dir: #{Lab::Files.folder}
    CONF
    [s.program, '-m', 'worker', '-c', conf]
  end
end
