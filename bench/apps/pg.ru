# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Each request waits 10 ms for the database: a thread or a fibre that waits costs nothing but its place.
require 'pg'

# As many connections as are in use at a time, kept; no more than the cluster has.
class Pool
  def initialize(most)
    @free = Queue.new
    @left = most
    @lock = Mutex.new
  end

  def with
    connection = take
    yield connection
  ensure
    @free << connection if connection
  end

  private

  def take
    @free.pop(true)
  rescue ThreadError
    make = @lock.synchronize { @left.positive? && @left -= 1 }
    make ? PG.connect(ENV.fetch('LAB_PG')) : @free.pop
  end
end

pool = Pool.new(100)

run lambda { |_env|
  pool.with { |pg| pg.exec('SELECT pg_sleep(0.01)') }
  [200, { 'content-type' => 'text/plain' }, ["OK\n"]]
}
