# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.peer :nginx do
  title 'nginx, return 200'
  package 'nginx-light'
  binary 'nginx'
  version_args %w[-v]
  offers constant: '/', hello: '/'
  command do |s|
    conf = s.write('nginx.conf', <<~CONF)
      daemon off;
      worker_processes 1;
      worker_rlimit_nofile 20000;
      pid #{s.dir}/pid;
      error_log stderr crit;
      events { worker_connections 16384; }
      http {
        access_log off;
        server_tokens off;
        tcp_nodelay on;
        keepalive_requests 1000000000;
        default_type text/plain;
        #{%w[client_body proxy fastcgi uwsgi scgi].map { |t| "#{t}_temp_path #{s.dir}/#{t};" }.join(' ')}
        server {
          listen 127.0.0.1:#{s.port} backlog=4096;
          location / { return 200 "OK\\n"; }
        }
      }
    CONF
    [s.program, '-p', s.dir, '-c', conf]
  end
end
