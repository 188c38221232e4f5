# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# The same load on the same server, alone and beside thousands of idle connections. Whatever walks a
# table of all connections (a cancel by descriptor does, in the kernel) shows here and nowhere else.
# The two sides are not interleaved, so the bound leaves room for the machine.
{ keepalive: [], newconn: ['--new'] }.each do |kind, how|
  %i[hyperion hyperion-epoll].each do |peer|
    Lab.gate :"crowd-#{kind}-#{peer.to_s.sub('hyperion', 'uring').sub('uring-', '')}" do
      says 'idle connections do not make the others dearer'
      check do |kit|
        kit.with_server(peer, extra: %w[--idle-keepalive 300]) do |s|
          work = [*how, '--connections', 100, '--seconds', 1]
          alone = Lab::Row.median(Array.new(3) { kit.cost(s, *work) })
          beside, = kit.load(s, '--connections', 9000, '--hold') do
            Lab::Row.median(Array.new(3) { kit.cost(s, *work) })
          end
          [Lab::Gate::Finding.new(format('%.2f us alone, %.2f us beside 9000 idle = x %.2f (at most 2)', alone, beside,
                                         beside / alone), beside <= 2 * alone)]
        end
      end
    end
  end
end
