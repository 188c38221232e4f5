# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Neither backend may serve some connections before others: closed loop, so that a connection that
# is passed over falls behind in its count.
%i[hyperion hyperion-epoll].each do |peer|
  Lab.gate :"fairness-#{peer.to_s.sub('hyperion', 'uring').sub('uring-', '')}" do
    says 'no connection of a hundred waits while the others are served'
    check do |kit|
      r = kit.with_server(peer) { |s| kit.load(s, '--connections', 100, '--seconds', 4) }
      share = r['least'].to_f / [r['most'], 1].max
      [Lab::Gate::Finding.new("errors #{r['errors']} (0)", r['errors'].zero?),
       Lab::Gate::Finding.new(format('longest wait %.1f ms (at most 1000)', r['max_us'] / 1e3), r['max_us'] <= 1e6),
       Lab::Gate::Finding.new(format('least %d / most served %d = %.2f (at least 0.5)', r['least'], r['most'], share),
                              share >= 0.5)]
    end
  end
end
