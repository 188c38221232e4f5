# frozen_string_literal: true

require "digest"

# What is long, in and out.
class FilesController < ActionController::API
  include ActionController::DataStreaming

  def upload
    file = params.require(:file)
    render json: { name: file.original_filename, type: file.content_type, size: file.size,
                   sha256: Digest::SHA256.file(file.path).hexdigest, note: params[:note] }
  end

  # A body that is made while it is sent; nobody knows its length before.
  def numbers
    headers["content-type"] = "text/plain"
    headers["last-modified"] = Time.now.httpdate # Rack::ETag would read it to the end
    self.response_body = Enumerator.new do |out|
      params[:lines].to_i.times { |i| out << "line #{i} #{"." * (i % 100)}\n" }
    end
  end

  def sent
    send_file Rails.root.join("public/404.html"), type: "text/html", disposition: "inline"
  end

  def made
    send_data "\x00\x01\xfe\xff".b * 1000, filename: "four thousand.bin", type: "application/octet-stream"
  end
end
