# SPDX-License-Identifier: MIT
# frozen_string_literal: true

{ hyperion: 'auto', 'hyperion-epoll': 'off' }.each do |name, io_uring|
  Lab.peer name do
    title io_uring == 'off' ? 'this server, epoll backend' : 'this server'
    binary 'build/hyperion-bpf'
    version_args %w[--version]
    offers constant: '/-/health'
    command do |s|
      [s.program, '-w', '1', '-b', "tcp://127.0.0.1:#{s.port}", '--io-uring', io_uring, '--no-log-requests', '--no-app']
    end
  end
end

# Files, in C.
{ 'hyperion-files': 'auto', 'hyperion-files-epoll': 'off' }.each do |name, io_uring|
  Lab.peer name do
    title "this server, static files#{', epoll backend' if io_uring == 'off'}"
    binary 'build/hyperion-bpf'
    version_args %w[--version]
    offers Lab::Files::PATHS
    command do |s|
      [s.program, '-w', '1', '-b', "tcp://127.0.0.1:#{s.port}", '--io-uring', io_uring, '--no-log-requests', '--no-app',
       '--static', "/files=#{Lab::Files.folder}"]
    end
  end
end

# The same with a Rack app, on so many Ruby threads; 0 = on the I/O thread.
{ 'hyperion-t0': 0, 'hyperion-t1': 1, 'hyperion-t5': 5 }.each do |name, threads|
  Lab.peer name do
    title "this server, Rack app, -t #{threads}"
    binary 'build/hyperion-bpf'
    version_args %w[--version]
    offers Lab::RACK
    offers Lab::RAILS if threads == 5
    command do |s|
      s.ruby(s.program, '-w', '1', '-t', threads.to_s, '-e', 'production', '-b', "tcp://127.0.0.1:#{s.port}",
             '--no-log-requests', s.app)
    end
  end
end
