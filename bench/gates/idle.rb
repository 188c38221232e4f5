# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Resident memory of all processes of the server with 10,000 connections that have had one answer
# each and then stay, over that of the warm server: a second of load touches the fixed pools (the
# receive buffers above all), which are paid once and not per connection.
Lab.gate :'idle-memory' do
  says 'an idle connection costs little user memory'
  check do |kit|
    count = 10_000
    kit.with_server(extra: %w[--idle-keepalive 300]) do |s|
      cold = s.tree.resident_bytes
      kit.load(s, '--connections', 100, '--seconds', 1)
      before = s.tree.resident_bytes
      after, held, last = kit.load(s, '--connections', count, '--hold') { s.tree.resident_bytes }
      each = (after - before).fdiv(count)
      [Lab::Gate::Finding.new("held #{held['held']}, still there at the end #{last['held']} (#{count})",
                              held['held'] == count && last['held'] == count),
       Lab::Gate::Finding.new(format('%.0f bytes each (at most 1024); resident %d KiB, warm %d, then %d', each,
                                     cold / 1024, before / 1024, after / 1024), each <= 1024)]
    end
  end
end

%i[hyperion hyperion-epoll].each do |peer|
  Lab.gate :"idle-sleeps-#{peer.to_s.sub('hyperion', 'uring').sub('uring-', '')}" do
    says 'a server without connections is not woken'
    check do |kit|
      kit.with_server(peer) do |s|
        sleep 1.5 # what the check's own connection left behind
        before = s.tree.sleeps
        sleep 3
        woken = s.tree.sleeps - before
        s.check(Lab.cases.fetch(:constant)) # it slept, it did not end
        [Lab::Gate::Finding.new("#{woken} wake-ups of any thread in 3 s (0)", woken.zero?)]
      end
    end
  end
end
