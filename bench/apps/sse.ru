# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# A thousand events of 50 bytes, each made when the one before has been taken.
class Events
  EVENT = "data: #{'e' * 42}\n\n"

  def each
    1000.times { yield +EVENT }
  end
end

run ->(_env) { [200, { 'content-type' => 'text/event-stream' }, Events.new] }
