# frozen_string_literal: true

# Server-sent events. Each but the first waits for a file, so that a client can be told from a buffer.
class EventsController < ApplicationController
  include ActionController::Live

  def index
    response.headers["content-type"] = "text/event-stream"
    events = SSE.new(response.stream, event: "tick")
    params[:count].to_i.times do |i|
      wait_for("event-#{i}") unless i.zero?
      events.write({ nr: i }, id: i)
    end
  ensure
    events&.close
    File.write(Rails.root.join("tmp/closed"), "closed\n", mode: "a")
  end

  private

  def wait_for(name)
    1000.times do
      return if Rails.root.join("tmp", name).exist?

      sleep 0.01
    end
    raise "nobody has asked for #{name}"
  end
end
