# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One worker without a log; @server: what is in the server block, @http: around it.
nginx_conf = lambda do |s, server, http = ''|
    tls = s.tls ? "ssl_certificate #{s.tls.cert}; ssl_certificate_key #{s.tls.key}; ssl_session_cache shared:lab:10m;" : ''
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
        #{http}
        server {
          listen #{s.address} backlog=4096#{s.tls ? ' ssl http2' : ''};
          #{tls}
          #{server}
        }
      }
    CONF
    [s.program, '-p', s.dir, '-c', conf]
end

Lab.peer :nginx do
  title 'nginx, return 200'
  package 'nginx-light'
  binary 'nginx'
  version_args %w[-v]
  offers constant: '/', hello: '/'
  speaks :tls, :h2
  command { |s| nginx_conf.call(s, 'location / { return 200 "OK\\n"; }') }
end

# As it is set up for files by who cares: sendfile, and open files kept.
Lab.peer :'nginx-files' do
  title 'nginx, sendfile, open_file_cache'
  package 'nginx-light'
  binary 'nginx'
  version_args %w[-v]
  offers Lab::Files::PATHS
  speaks :tls, :h2
  command do |s|
    nginx_conf.call(s, "location /files/ { alias #{Lab::Files.folder}/; }",
                    'sendfile on; tcp_nopush on; open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;')
  end
end
