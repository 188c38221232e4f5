# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A request as observers and direct handlers see it. Nothing in it changes when the app changes env.

module Hyperion
  class Request
    attr_reader :method, :path, :query_string, :http_version, :peer_address

    # One whose headers and body are looked up in @env when somebody asks.
    def self.of(env)
      allocate.tap { |request| request.send(:take, env) }
    end

    # @headers: names in lower case.
    def initialize(method:, path:, query_string: "", http_version: "HTTP/1.1", headers: {}, body: "", peer_address: nil)
      @method = method
      @path = path
      @query_string = query_string
      @http_version = http_version
      @headers = headers
      @body = body
      @peer_address = peer_address
    end

    # All of them, names in lower case.
    def headers
      @headers ||= @env.filter_map { |key, value| (name = header_name(key)) && [name, value] }.to_h.freeze
    end

    def header(name)
      headers[name.to_s.downcase]
    end

    # The whole body as one String. It stays readable for the app.
    def body
      @body ||= read(@env["rack.input"])
    end

    def inspect
      "#<#{self.class} #{method} #{path}>"
    end

    private

    def take(env)
      @env = env
      @method = env["REQUEST_METHOD"].dup.freeze
      @path = env["PATH_INFO"].dup.freeze
      @query_string = env["QUERY_STRING"].dup.freeze
      @http_version = env["SERVER_PROTOCOL"]
      @peer_address = env["REMOTE_ADDR"]
    end

    def header_name(key)
      return key[5..].downcase.tr("_", "-") if key.start_with?("HTTP_")

      { "CONTENT_TYPE" => "content-type", "CONTENT_LENGTH" => "content-length" }[key]
    end

    def read(input)
      return "" unless input

      input.rewind
      input.read.tap { input.rewind }
    end
  end
end
