# frozen_string_literal: true

# The page that `make run` serves. It asks for what this request has cost, and by whom it was answered.

require "cgi"
require "json"

class Hello
  STARTED = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def initialize
    @count = 0
    @lock = Mutex.new
  end

  def call(env)
    case env["PATH_INFO"]
    when "/" then page(env)
    when "/json" then [200, { "content-type" => "application/json" }, [JSON.pretty_generate(facts(env)), "\n"]]
    when "/stream" then [200, { "content-type" => "text/plain" }, Countdown.new(5)]
    else [404, { "content-type" => "text/plain" }, ["nothing at #{env["PATH_INFO"]}\n"]]
    end
  end

  # A body that comes in pieces, as they are ready.
  Countdown = Struct.new(:from) do
    def each
      from.downto(1) do |n|
        yield "#{n}...\n"
        sleep 0.2
      end
      yield "hello!\n"
    end
  end

  private

  def count
    @lock.synchronize { @count += 1 }
  end

  def facts(env)
    {
      "answered by" => "worker #{Process.pid}, its request number #{count}",
      "you are" => "#{env["REMOTE_ADDR"]}, #{env["HTTP_USER_AGENT"] || "without a name"}",
      "asked for" => "#{env["REQUEST_METHOD"]} #{env["PATH_INFO"]} over #{env["SERVER_PROTOCOL"]}",
      "Ruby" => "#{RUBY_VERSION}, Rack #{Rack.release}, #{ENV["RACK_ENV"]}",
      "up for" => format("%.1f s", Process.clock_gettime(Process::CLOCK_MONOTONIC) - STARTED),
    }
  end

  def page(env)
    rows = facts(env).map { |name, value| "<tr><th>#{name}<td>#{CGI.escapeHTML(value)}" }
    [200, { "content-type" => "text/html; charset=utf-8" }, [PAGE.sub("ROWS") { rows.join("\n") }]]
  end

  PAGE = <<~HTML
    <!doctype html>
    <html lang="en">
    <meta name="viewport" content="width=device-width">
    <title>hyperion-bpf</title>
    <style>
      :root { color-scheme: light dark }
      body { font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 12vh auto; padding: 0 1rem }
      h1 { font-weight: 300; font-size: 3rem; margin: 0 }
      table { border-collapse: collapse; margin: 2rem 0; width: 100% }
      th { text-align: left; font-weight: 400; opacity: .6; white-space: nowrap; padding-right: 2rem; vertical-align: top }
      td, th { border-top: 1px solid #8884; padding: .35rem .5rem .35rem 0 }
      code { background: #8883; padding: .1em .3em; border-radius: 3px }
    </style>
    <h1>Hello.</h1>
    <p>This page is <code>examples/hello/config.ru</code>, served by hyperion-bpf. Load it again: several
    workers take turns.
    <table>
    ROWS
    </table>
    <p><a href="/json">the same as JSON</a> &middot; <a href="/stream">a body in pieces</a>
    </html>
  HTML
end

run Hello.new
