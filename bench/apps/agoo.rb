# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# agoo with an app, quiet, on one address.
require 'agoo'
require 'rack'

url, files, workers, app, cert, key = ARGV
Agoo::Log.configure(dir: '', console: true, classic: true, colorize: false,
                    states: { INFO: false, DEBUG: false, connect: false, request: false, response: false, eval: false, push: false })
Agoo::Server.init(0, files, bind: [url], thread_count: 5, worker_count: Integer(workers), root_first: true,
                            **(cert.empty? ? {} : { ssl_cert: cert, ssl_key: key }))
handler = Rack::Builder.parse_file(app)
['/', '/**'].each { |path| Agoo::Server.handle(nil, path, handler) }
Agoo::Server.start
sleep
