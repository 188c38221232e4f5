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
