# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Counted in the app, by a request of its own before and after.
Lab.gate :'rack-objects' do
  says 'a hello allocates few Ruby objects'
  check do |kit|
    kit.with_server(:'hyperion-t5', kase: :rack_hello, resource: :waits) do |s|
      kit.load(s, '--connections', 10, '--seconds', 1, path: '/')
      before = Integer(s.get('/allocated'))
      r = kit.load(s, '--connections', 10, '--seconds', 1, path: '/')
      each = (Integer(s.get('/allocated')) - before).fdiv(r['requests'])
      [Lab::Gate::Finding.new("errors #{r['errors']} (0)", r['errors'].zero?),
       Lab::Gate::Finding.new(format('%.2f objects each in %d requests (at most 10)', each, r['requests']),
                              each <= 10 && r['requests'] >= 10_000)]
    end
  end
end
