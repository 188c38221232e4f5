# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A request as observers and direct handlers see it. Nothing in it changes when the app changes env.

module Hyperion
  class Request
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

    def method = @method || apart(:@method)
    def path = @path || apart(:@path)
    def query_string = @query_string || apart(:@query_string)
    def peer_address = @peer_address || apart(:@peer_address)
    def http_version = @http_version || "HTTP/1.1"

    # All of them, names in lower case.
    def headers
      @headers ||= (@env ? headers_of_env : headers_of_fields).freeze
    end

    def header(name)
      headers[name.to_s.downcase]
    end

    # The whole body as one String. It stays readable for the app.
    def body
      @body ||= @env ? read(@env["rack.input"]) : ""
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

    # The head as C has written it down (direct.c): a line for each word.
    def apart(name)
      if (head = @head)
        @method, @path, @query_string, peer, *@fields = head.split("\n", -1).each(&:freeze)
        @peer_address = peer.empty? ? "127.0.0.1" : peer
        @head = nil
      end
      instance_variable_get(name)
    end

    def headers_of_env
      @env.filter_map { |key, value| (name = header_name(key)) && [name, value] }.to_h
    end

    def headers_of_fields
      apart(:@fields).each_slice(2).with_object({}) do |(name, value), all|
        next unless value

        name = name.downcase
        all[name] = all.key?(name) ? "#{all[name]}#{name == "cookie" ? "; " : ", "}#{value}".freeze : value
      end
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
