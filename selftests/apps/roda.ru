# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A Roda app: the routing tree, JSON, sessions, files, streams, hints. roda_checks.rb says what is to be
# seen of it. $EVENTS is a folder in which a stream waits for files.

require "roda"
require "digest"

class Library < Roda
  plugin :json
  plugin :json_parser
  plugin :all_verbs
  plugin :halt
  plugin :caching
  plugin :head
  plugin :streaming
  plugin :early_hints
  plugin :typecast_params
  plugin :sessions, secret: "not a secret, but long enough to be taken for one: #{"x" * 64}", key: "library"
  plugin(:not_found) { "no #{request.path}\n" }
  plugin(:error_handler) { |e| "sorry: #{e.message}\n" }

  BOOKS = { 1 => "Middlemarch", 2 => "Don Quijote" }.freeze

  route do |r|
    r.root { "hello from Roda #{Roda::RodaMajorVersion}\n" }

    r.on "books" do
      r.get(Integer) { |id| (title = BOOKS[id]) ? { "id" => id, "title" => title } : r.halt(404, "no book #{id}\n") }
      r.is do
        r.get { BOOKS.map { |id, title| { "id" => id, "title" => title } } }
        r.post do
          response.status = 201
          { "title" => typecast_params.nonempty_str!("title"), "type" => r.media_type }
        end
      end
    end

    r.get("visits") { (r.session["visits"] = r.session["visits"].to_i + 1).to_s }

    r.post "upload" do
      file = r.params.fetch("file")
      { "name" => file[:filename], "size" => file[:tempfile].size, "sha256" => Digest::SHA256.file(file[:tempfile].path).hexdigest }
    end

    r.get "cached" do
      r.etag "abc"
      r.last_modified Time.utc(2020)
      "fresh\n"
    end

    r.get "hints" do
      send_early_hints("link" => "</style.css>; rel=preload; as=style")
      "hinted\n"
    end

    r.get "stream", Integer do |lines|
      stream { |out| lines.times { |i| out << "line #{i}\n" } }
    end

    r.get "events", Integer do |count|
      response["content-type"] = "text/event-stream"
      stream do |out|
        count.times do |i|
          wait_for("event-#{i}") unless i.zero?
          out << "data: #{i}\n\n"
        end
      end
    end

    r.delete("gone") { r.halt(204) }
    r.get("old") { r.redirect("/books", 303) }
    r.get("boom") { raise "boom" }
  end

  # 10 s at most.
  def wait_for(name)
    1000.times do
      return if File.exist?(File.join(ENV.fetch("EVENTS"), name))

      sleep 0.01
    end
    raise "nobody has asked for #{name}"
  end
end

run Library.freeze.app
