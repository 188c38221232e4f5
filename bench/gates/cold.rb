# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'net/http'

# A file of 1 GiB that is not in memory, read by one client, and short answers of the same worker.
module ColdGate
  LEN = 1 << 30
  ROUNDS = 3
  TOKEN = 'gate'
  LOAD = ['--connections', 16].freeze
  ALONE_S = 2
  BESIDE_S = 4
  PATH = '/cold/file.bin'

  # In the tree, which is on a disk; gone with the gate.
  def self.with_file
    Dir.mktmpdir('lab-cold-', File.join(Lab::ROOT, 'build')) do |dir|
      File.chmod(0o755, dir)
      free = IO.popen(['df', '--output=avail', '-B1', dir], &:read).lines.last.to_i
      raise Lab::Server::Failed, "#{dir}: 2 GiB have to be free" if free < 2 * LEN

      path = File.join(dir, 'file.bin')
      block = Random.bytes(1 << 20)
      File.open(path, 'wb') { |f| (LEN / block.bytesize).times { f.write(block) } }
      yield dir, path
    end
  end

  # Bytes of it in the page cache.
  def self.resident(path)
    IO.popen(['fincore', '-b', '-n', '-o', 'RES', path], &:read).to_i
  end

  def self.evict(path)
    File.open(path) do |f|
      f.fsync
      f.advise(:dontneed)
    end
    left = resident(path)
    raise Lab::Server::Failed, "#{left} bytes of the file stay in memory" if left > LEN / 100
  end

  # [turns of the loop of 2 ms and more, its longest turn in ms]
  def self.loop_of(server)
    page = Net::HTTP.start('127.0.0.1', server.port) do |http|
      http.get('/-/metrics', 'Authorization' => "Bearer #{TOKEN}").body
    end
    [page[/^hyperion_loop_stalls_total\{.*\} (\d+)$/, 1].to_i,
     page[/^hyperion_loop_longest_turn_seconds\{.*\} (\S+)$/, 1].to_f * 1e3]
  end

  def self.load(kit, server, *args)
    r = kit.load(server, *LOAD, *args)
    errors = r['errors'] + r['beside'].sum { |b| b['errors'] }
    raise Lab::Server::Failed, "#{errors} errors under load" if errors.positive? || r['requests'].zero?

    r
  end

  # Short answers while one client reads the cold file.
  def self.beside(kit, server, path)
    evict(path)
    r = load(kit, server, '--seconds', BESIDE_S, '--beside', "1:#{PATH}")
    mib = resident(path) >> 20
    raise Lab::Server::Failed, "only #{mib} MiB of the file were read" if mib < 128

    puts format('# beside the file: p99 %.0f us, %d MiB of it read, sent whole %d times', r['p99_us'], mib,
                r['beside'][0]['requests'])
    r
  end

  # The ratio of the p99s as everybody sees them.
  def self.latency(kit, server, path)
    ratios = Array.new(ROUNDS) do
      alone = load(kit, server, '--seconds', ALONE_S)
      puts format('# alone: p99 %.0f us', alone['p99_us'])
      beside(kit, server, path)['p99_us'] / alone['p99_us']
    end
    ratio = Lab::Row.median(ratios)
    Lab::Gate::Finding.new(format('p99 of short answers %.2f x alone (at most 1.5)', ratio), ratio <= 1.5)
  end

  # A turn that another process interrupts is long, too: that is no stall of the loop's own making. -R: its
  # helpers in the kernel stay as they are. A server of its own, because the longest turn is the longest ever.
  def self.stalls(kit, server, path)
    real_time = server.tree.pids.map { |pid| system('chrt', '-R', '-f', '-p', '1', pid.to_s, err: File::NULL) }.all?
    puts '# no real-time priority: interruptions by others count as stalls' unless real_time
    before, = loop_of(server)
    ROUNDS.times { beside(kit, server, path) }
    after, longest = loop_of(server)
    Lab::Gate::Finding.new(format('longest turn of the loop %.2f ms, %d of 2 ms and more (0)', longest, after - before),
                           after == before)
  end
end

Lab.gate :'cold-file' do
  says 'a cold file of 1 GiB delays nobody else on its worker'
  check do |kit|
    ColdGate.with_file do |dir, path|
      extra = ['--static', "/cold=#{dir}", '--admin-token', ColdGate::TOKEN]
      %i[stalls latency].map do |what|
        kit.with_server(extra: extra) { |s| ColdGate.public_send(what, kit, s, path) }
      end
    end
  end
end
