# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# What we do not speak yet our own server refuses, or it answers wrongly when it is asked; nothing here says so.
ours = lambda do |s, *more|
  bind = s.tls ? "ssl://#{s.address}?cert=#{s.tls.cert}&key=#{s.tls.key}" : "tcp://#{s.address}"
  [s.program, '-w', s.workers.to_s, '-b', bind, '--no-log-requests', *more]
end

{ hyperion: 'auto', 'hyperion-epoll': 'off' }.each do |name, io_uring|
  Lab.peer name do
    title "this server, a constant#{', epoll backend' if io_uring == 'off'}"
    binary 'build/hyperion-bpf'
    version_args %w[--version]
    offers constant: '/-/health', hello: '/-/health'
    speaks :tls, :h2, :websocket, :workers
    variant io_uring == 'off'
    command { |s| ours.call(s, '--io-uring', io_uring, '--no-app') }
  end
end

# Files, in C.
{ 'hyperion-files': 'auto', 'hyperion-files-epoll': 'off' }.each do |name, io_uring|
  Lab.peer name do
    title "this server, static files#{', epoll backend' if io_uring == 'off'}"
    binary 'build/hyperion-bpf'
    version_args %w[--version]
    offers Lab::Files::PATHS
    speaks :tls, :h2, :websocket, :workers
    variant io_uring == 'off'
    command { |s| ours.call(s, '--io-uring', io_uring, '--no-app', '--static', "/files=#{Lab::Files.folder}") }
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
    speaks :tls, :h2, :websocket, :workers
    variant threads != 5
    command do |s|
      files = s.resource == :held ? ['--static', "/files=#{Lab::Files.folder}"] : []
      s.ruby(*ours.call(s, '-t', threads.to_s, '-e', 'production', *files, s.app))
    end
  end
end

# Each request in a fibre.
Lab.peer :'hyperion-async' do
  title 'this server, Rack app, --async-io'
  binary 'build/hyperion-bpf'
  version_args %w[--version]
  offers pg: '/'
  tries true
  command { |s| s.ruby(*ours.call(s, '-e', 'production', '--async-io', s.app)) }
end
