# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# A Sinatra app as people write them: routes, templates, sessions, forms, files, errors.

require "sinatra/base"
require "json"
require "tempfile"

class Shop < Sinatra::Base
  set :sessions, true
  set :session_secret, "not a secret, but long enough to be taken for one: #{"x" * 64}"
  set :public_folder, File.join(__dir__, "public")
  set :static, true
  set :show_exceptions, false
  set :raise_errors, false
  set :host_authorization, { permitted_hosts: [] }
  enable :inline_templates

  TEMPLATE = "<h1><%= @title %></h1><ul><% @items.each do |item| %><li><%= item %><% end %></ul>\n"

  get("/") { "hello from Sinatra #{Sinatra::VERSION.to_i}\n" }

  get "/list/:name" do
    @title = params["name"]
    @items = (params["items"] || "").split(",")
    erb TEMPLATE
  end

  post "/form" do
    content_type :json
    JSON.generate(params)
  end

  post "/upload" do
    file = params["file"]
    content_type :json
    JSON.generate("filename" => file["filename"], "type" => file["type"], "size" => file["tempfile"].size,
                  "text" => file["tempfile"].read(20), "note" => params["note"])
  end

  get("/visits") { (session[:visits] = session[:visits].to_i + 1).to_s }

  get("/redirect") { redirect "/", 303 }
  get("/halt") { halt 418, { "x-pot" => "tea" }, "short and stout\n" }
  get("/file") { send_file __FILE__, type: "text/x-ruby" }
  get("/pass/*") { |rest| rest == "me" ? pass : "stopped\n" }
  get("/pass/me") { "passed\n" }
  get("/cached") { etag("abc") && "fresh\n" }

  get "/stream" do
    stream do |out|
      3.times { |i| out << "part #{i}\n" }
    end
  end

  # A chat without its people: each event but the first waits for a file.
  get "/events", provides: "text/event-stream" do
    stream do |out|
      3.times do |i|
        wait_for("event-#{i}") unless i.zero?
        out << "data: #{i}\n\n"
      end
    end
  end

  get("/attachment") { attachment("report.txt") && "the report\n" }

  get "/cookies" do
    response.set_cookie("seen", value: (request.cookies["seen"].to_i + 1).to_s, path: "/")
    "seen #{request.cookies["seen"]}\n"
  end

  put("/body") { request.body.read.reverse }
  delete("/gone") { status 204 }
  get("/boom") { raise ArgumentError, "boom" }

  helpers do
    # 10 s at most.
    def wait_for(name)
      1000.times do
        return if File.exist?(File.join(ENV.fetch("EVENTS"), name))

        sleep 0.01
      end
      raise "nobody has asked for #{name}"
    end
  end

  error(ArgumentError) { [500, "sorry: #{env["sinatra.error"].message}\n"] }
  not_found { "no #{request.path_info}\n" }
end

run Shop
