# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'socket'
require 'openssl'
require 'securerandom'
require 'digest'

module Lab
  # A few requests to a server before it is measured: is what it answers what the case expects?
  # Raises Server::Failed, or Server::Lacks when it does not speak what was asked for.
  class Dialogue
    LIMIT_S = 5

    def initialize(host, port, kase, path)
      @host = host
      @port = port
      @kase = kase
      @path = path
    end

    # Facts of the answer: status, bytes of head and body, whether the next one is as long; yields while the connection is open.
    def check(&open)
      return h2_answer if @kase.needs.include?(:h2)
      return echo if @kase.needs.include?(:websocket)

      answers = connected { |sock| ask(sock).tap { open&.call } }
      answers += connected { |sock| ask(sock) }
      bodies = answers.map { |a| a[2].bytesize }
      { 'status' => 200, 'head_bytes' => answers[0][1].bytesize, 'body_bytes' => bodies[0], 'wire_bytes' => answers[0][3],
        'body_varies' => !bodies.uniq.one? }
    rescue OpenSSL::SSL::SSLError => e
      raise Server::Lacks, "TLS: #{e.message}"
    rescue SystemCallError, IOError => e
      raise Server::Failed, "check: #{e.message}"
    end

    # The body of a 200 to one GET.
    def get
      status, _, body = connected { |sock| sock.write(request) && read_answer(sock) }
      raise Server::Failed, "answered #{status} to #{@path}" unless status == 200

      body
    end

    private

    def ask(sock)
      sock.write(request * @kase.depth)
      answers = Array.new(@kase.depth) { read_answer(sock) }
      answers.each do |status, _head, body|
        raise Server::Failed, "answered #{status} to #{@path}#{body && ": #{body[0, 80].inspect}"}" unless status == 200
        raise Server::Failed, "answered #{body.to_s[0, 80].inspect}" unless @kase.expect.call(body)
      end
      raise Server::Failed, 'did not close the connection' if @kase.closes && !closed?(sock)

      answers
    end

    def connected
      sock = tcp = TCPSocket.new(@host, @port)
      sock = tls(tcp, nil) if @kase.tls?
      yield sock
    ensure
      tcp&.close
    end

    def tls(tcp, protocols)
      context = OpenSSL::SSL::SSLContext.new
      context.verify_mode = OpenSSL::SSL::VERIFY_NONE # the certificate is the lab's own, made for this run
      context.alpn_protocols = protocols if protocols
      sock = OpenSSL::SSL::SSLSocket.new(tcp, context)
      sock.hostname = 'localhost'
      deadline = Lab.clock + LIMIT_S
      begin
        sock.connect_nonblock
      rescue IO::WaitReadable, IO::WaitWritable
        raise Server::Lacks, 'no TLS handshake within 5 s' if Lab.clock > deadline

        tcp.wait_readable(0.2)
        retry
      end
      sock
    end

    def request
      fields = @kase.headers.dup
      fields['Content-Length'] = @kase.body_bytes if @kase.body_bytes.to_i.positive?
      "#{@kase.body_bytes.to_i.positive? ? 'POST' : 'GET'} #{@path} HTTP/1.1\r\nHost: #{@host}:#{@port}\r\n" \
        "#{fields.map { |k, v| "#{k}: #{v}\r\n" }.join}\r\n#{'u' * @kase.body_bytes.to_i}"
    end

    # [status, head, body, bytes of the body as it came]
    def read_answer(sock)
      raise Server::Failed, "no answer within #{LIMIT_S} s" unless ready?(sock)

      head = sock.gets("\r\n\r\n") or raise Server::Failed, 'closed without an answer'
      status = head[%r{\AHTTP/1\.1 (\d+)}, 1].to_i
      return [status, head, *read_chunks(sock)] if head.match?(/^transfer-encoding:\s*chunked/i)

      length = head[/^content-length:\s*(\d+)/i, 1] or return read_to_end(sock, status, head)
      [status, head, sock.read(length.to_i), length.to_i]
    end

    # Right for HTTP, but of no use to clients that keep their connections.
    def read_to_end(sock, status, head)
      raise Server::Failed, 'answer without Content-Length' unless head.match?(/^connection:\s*close/i)

      body = sock.read
      [status, head, body, body.bytesize]
    end

    def ready?(sock)
      sock.is_a?(OpenSSL::SSL::SSLSocket) && sock.pending.positive? || sock.to_io.wait_readable(LIMIT_S)
    end

    def read_chunks(sock)
      body = +''
      wire = 0
      loop do
        raise Server::Failed, 'stalls within an answer' unless ready?(sock) || @kase.tls?

        line = sock.gets("\r\n") or raise Server::Failed, 'closed within an answer'
        wire += line.bytesize + 2
        size = line.to_i(16)
        body << sock.read(size) if size.positive?
        wire += size
        sock.read(2)
        break if size.zero?
      end
      [body, wire]
    end

    def closed?(sock)
      sock.to_io.wait_readable(LIMIT_S) && sock.read(1).nil?
    rescue Errno::ECONNRESET
      raise Server::Failed, 'reset the connection'
    end

    def h2_answer
      tcp = TCPSocket.new(@host, @port)
      chosen = tls(tcp, %w[h2 http/1.1]).alpn_protocol
      raise Server::Lacks, "no HTTP/2: the handshake chose #{chosen || 'nothing'}" unless chosen == 'h2'

      fields = @kase.headers.map { |k, v| ['-H', "#{k}: #{v}"] }.flatten
      body = IO.popen(['timeout', LIMIT_S.to_s, 'nghttp', *fields, "https://#{@host}:#{@port}#{@path}", { err: File::NULL }], &:read)
      raise Server::Failed, "answered #{body[0, 80].inspect} by HTTP/2" unless @kase.expect.call(body)

      { 'status' => 200, 'body_bytes' => body.bytesize }
    rescue OpenSSL::SSL::SSLError, SystemCallError, IOError => e
      raise Server::Lacks, "TLS: #{e.message}"
    ensure
      tcp&.close
    end

    # The handshake of RFC 6455 and one message there and back.
    def echo
      connected do |sock|
        key = SecureRandom.base64(16)
        sock.write("GET #{@path} HTTP/1.1\r\nHost: #{@host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: #{key}\r\n\r\n")
        raise Server::Lacks, 'no answer to a WebSocket handshake' unless ready?(sock)

        head = sock.gets("\r\n\r\n").to_s
        raise Server::Lacks, "no WebSocket: answers #{head[/\A\S+ (\d+)/, 1] || 'nothing'}" unless head.start_with?('HTTP/1.1 101')

        accept = Digest::SHA1.base64digest("#{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        raise Server::Failed, 'wrong Sec-WebSocket-Accept' unless head[/^sec-websocket-accept:\s*(\S+)/i, 1] == accept

        sock.write([0x81, 0x80 | 4, 0, 0, 0, 0].pack('C*') + 'echo') # a mask of zeros
        raise Server::Failed, 'no echo within 5 s' unless ready?(sock)
        raise Server::Failed, 'wrong echo' unless sock.read(6) == "\x81\x04echo".b

        { 'status' => 101, 'head_bytes' => head.bytesize, 'body_bytes' => 4 }
      end
    rescue SystemCallError, IOError => e
      raise Server::Lacks, "no WebSocket: #{e.message}"
    end
  end
end
