# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# falcon's settings in the lab: an app on one address, with TLS if there is a certificate.
require 'falcon/environment/server'
require 'falcon/environment/rackup'

lab_endpoint = lambda do
  next Async::HTTP::Endpoint.parse(ENV.fetch('LAB_URL')) if ENV['LAB_CERT'].empty?

  context = OpenSSL::SSL::SSLContext.new
  context.add_certificate(OpenSSL::X509::Certificate.new(File.read(ENV.fetch('LAB_CERT'))), OpenSSL::PKey.read(File.read(ENV.fetch('LAB_KEY'))))
  context.alpn_select_cb = ->(offered) { (%w[h2 http/1.1] & offered).first }
  context.session_id_context = 'lab'
  Async::HTTP::Endpoint.parse(ENV.fetch('LAB_URL'), ssl_context: context)
end

service 'lab' do
  include Falcon::Environment::Server
  include Falcon::Environment::Rackup

  rackup_path { ENV.fetch('LAB_APP') }
  count { Integer(ENV.fetch('LAB_WORKERS')) }
  url { ENV.fetch('LAB_URL') }
  endpoint { lab_endpoint.call }
end
