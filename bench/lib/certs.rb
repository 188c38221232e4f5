# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'openssl'

module Lab
  # The certificate that all servers of a run have: P-256, signed by itself.
  module Certs
    Pair = Struct.new(:cert, :key)

    def self.pair
      @pair ||= begin
        dir = Dir.mktmpdir('lab-certs-')
        File.chmod(0o755, dir)
        owner = Process.pid
        at_exit { FileUtils.rm_rf(dir) if Process.pid == owner }
        key = OpenSSL::PKey::EC.generate('prime256v1')
        Pair.new(put(dir, 'cert.pem', make(key).to_pem), put(dir, 'key.pem', key.private_to_pem)) # PKCS#8, which all can read
      end
    end

    def self.put(dir, name, text)
      File.join(dir, name).tap { |f| File.write(f, text) }
    end

    def self.make(key)
      OpenSSL::X509::Certificate.new.tap do |c|
        c.version = 2
        c.serial = 1
        c.subject = c.issuer = OpenSSL::X509::Name.parse('/CN=localhost')
        c.public_key = key
        c.not_before = Time.now - 60
        c.not_after = Time.now + (7 * 86_400)
        extensions = OpenSSL::X509::ExtensionFactory.new(c, c)
        c.add_extension(extensions.create_extension('subjectAltName', 'DNS:localhost,IP:127.0.0.1'))
        c.sign(key, OpenSSL::Digest.new('SHA256'))
      end
    end
    private_class_method :put, :make
  end
end
