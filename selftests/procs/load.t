#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Workers die, and the server stops, while clients ask without a pause. HYPERION_KILLS says how many die
# (10; 100 take about a minute).

require_relative "app"

KILLS = Integer(ENV.fetch("HYPERION_KILLS", "10"))
NR_CLIENTS = 6
NR_PATIENCE = 10 # seconds for any one answer
ANSWER = "run ->(env) { [200, { 'content-type' => 'text/plain' }, [env['PATH_INFO']]] }"

# One connection after another, one request after another, each with a name of its own.
class Asker
  Cut = Struct.new(:port, :connection, :asked, keyword_init: true)

  attr_reader :nr_answered, :cuts, :wrong, :last

  # @per_connection: how many requests before it connects anew; nil: until the server closes.
  def initialize(name, port, per_connection)
    @name = name
    @port = port
    @per_connection = per_connection
    @nr_answered = @nr_connections = 0
    @cuts = []
    @wrong = []
    @thread = Thread.new { run }
  end

  def stop
    @stopping = true
    @thread.join
  end

  private

  def run
    converse until @stopping || @refused
  rescue StandardError => e
    @wrong << "#{e.class}: #{e.message} #{e.backtrace.first}"
  end

  def converse
    socket = Socket.tcp("127.0.0.1", @port)
    local = socket.local_address.ip_port
    client = Client.new(socket)
    @nr_connections += 1
    asked = 0
    until @stopping || asked == @per_connection
      asked += 1
      @last = ask(client, "/#{@name}/#{@nr_connections}/#{asked}")
      return @cuts << Cut.new(port: local, connection: @nr_connections, asked: asked) unless @last
      return @refused = true if @last.last? # it stops
    end
  rescue Errno::ECONNREFUSED
    @refused = true
  ensure
    socket&.close
  end

  # nil: the connection ended without an answer.
  def ask(client, path)
    client.write("GET #{path} HTTP/1.1\r\nHost: test\r\n\r\n")
    answer = Timeout.timeout(NR_PATIENCE * Tap::SCALE) { client.answer } or return nil
    return @wrong << "#{answer.status} #{answer.body} for #{path}" unless [answer.status, answer.body] == [200, path]

    @nr_answered += 1
    answer
  rescue Errno::ECONNRESET, Errno::EPIPE, Client::Cut
    nil
  end
end

def askers(server, per_connection)
  Array.new(NR_CLIENTS) { |i| Asker.new(i, server.port, per_connection[i % per_connection.size]) }
end

# Ports of the clients whose connections @pid has taken. It has to stand still.
def taken_by(pid, port)
  inodes = Procs.fds(pid).values.filter_map { |name| name[/\Asocket:\[(\d+)\]/, 1] }
  File.foreach("/proc/net/tcp").drop(1).filter_map do |line|
    fields = line.split
    local, remote = fields[1, 2].map { |address| address[/:(\h+)/, 1].hex }
    remote if local == port && inodes.include?(fields[9])
  end
end

# What the server has, apart from its connections.
def belongings(server)
  [server.children.size, Procs.fds(server.pid).size, server.children.count { |pid| Procs.state(pid) == "Z" }]
end

on_each_loop "#{KILLS} workers are killed: only what they had taken is lost", seconds: 20 + 2 * KILLS do |mode|
  [5, 0].each do |threads|
    path = File.join(open_folder, "app.sock")
    server = serve("-w", 2, "-t", threads, "--io-uring", mode, "-b", "unix://#{path}", files: { "config.ru" => ANSWER })
    before = belongings(server)
    pids = server.workers_by_index.values
    clients = askers(server, [1, 3, 50])
    taken = []
    (threads.zero? ? KILLS / 5 : KILLS).times do |i|
      index = i % 2
      sleep 0.05
      old = server.worker(index)
      stand_still(old)
      taken.concat(taken_by(old, server.port))
      Process.kill(:KILL, old)
      pids << server.other_worker(old, index)
    end
    sleep 0.2
    clients.each(&:stop)
    assert_equal [], clients.flat_map(&:wrong)
    cuts = clients.flat_map(&:cuts)
    # A port that a client has used twice would explain too much; there are 28000 of them.
    lost = cuts.reject { |cut| taken.include?(cut.port) }
    answered = clients.sum(&:nr_answered)
    Tap.comment("threads #{threads}: #{answered} answered, #{cuts.size} cut of #{taken.size} that dead workers had taken")
    assert_equal [], lost, "requests that no worker had taken"
    assert answered > 20 * KILLS / 5, "too little load to show anything"
    # Nothing has been left behind by any of them.
    eventually("no more than at the start") { belongings(server) == before }
    assert_equal 0, server.stop.exitstatus
    assert_nothing_remains(server)
    pids.each { |pid| refute Procs.alive?(pid) }
    refute File.exist?(path)
    refute_match(/\[BUG\]|error/, server.log)
  end
end

%w[INT TERM].each do |name|
  on_threads "SIG#{name} to the group under load: whoever keeps a connection loses nothing" do |threads|
    server = serve("-w", 2, "-t", threads, files: { "config.ru" => ANSWER })
    clients = askers(server, [nil])
    eventually("some load") { clients.sum(&:nr_answered) > 500 }
    Process.kill(name, -server.pid)
    assert_equal 0, server.wait.exitstatus
    clients.each(&:stop)
    assert_equal [], clients.flat_map(&:wrong)
    assert_equal [], clients.flat_map(&:cuts)
    clients.each { |client| assert client.last.last?, "its last answer does not say that it is" }
    assert_nothing_remains(server)
    refute_match(/Interrupt|\[BUG\]|warn|error/, server.log)
  end
end

test "the mold is killed again and again while workers are, too", seconds: 40 do
  server = serve("-w", 2, files: { "config.ru" => ANSWER })
  before = belongings(server)
  clients = askers(server, [3])
  5.times do |i|
    mold, worker = server.mold, server.worker(i % 2)
    Process.kill(:KILL, mold)
    Process.kill(:KILL, worker)
    server.other_mold(mold)
    server.other_worker(worker, i % 2)
  end
  clients.each(&:stop)
  assert_equal [], clients.flat_map(&:wrong)
  assert clients.all? { |client| client.nr_answered.positive? }
  eventually("no more than at the start") { belongings(server) == before }
  assert_equal 0, server.stop.exitstatus
  assert_nothing_remains(server)
end
