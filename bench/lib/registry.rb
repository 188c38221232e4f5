# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# What is measured (cases), who is measured (peers) and what is promised (gates): each is one small
# file that registers itself here by name. The folder is the list; nothing else names them.
module Lab
  ROOT = File.expand_path('../..', __dir__)
  BODY = "OK\n" # every peer's constant answer

  # One workload. `resource` is what a peer has to offer for it; several cases share a resource.
  # `expect` says whether a body is the right answer.
  #   load       who asks: wrk, load (counts per connection), h2load, handshakes, echo
  #   needs      what a peer has to speak: tls, h2, websocket, workers
  #   rate       requests per second in all, whatever the server does (open loop); nil = as fast as it answers (closed)
  #   body_bytes so long a body is sent with each request
  #   workers    of the server
  #   fresh      a new connection for every request (load: load)
  #   resumed    TLS sessions are resumed (load: handshakes)
  #   beside     { path => connections } that ask at the same time and are not counted (load: load)
  #   before     called with the server before it is measured
  #   quick      part of --quick
  Case = Struct.new(:name, :title, :resource, :connections, :depth, :headers, :closes, :expect, :load, :needs, :rate, :body_bytes,
                    :workers, :fresh, :resumed, :beside, :before, :quick, keyword_init: true) do
    def facts
      to_h.except(:expect, :before).transform_keys(&:to_s)
    end

    def tls?
      needs.include?(:tls)
    end
  end

  DEFAULTS = { connections: 100, depth: 1, headers: {}, closes: false, expect: ->(body) { body == BODY }, load: :wrk, needs: [],
               rate: nil, body_bytes: 0, workers: 1, fresh: false, resumed: false, beside: {}, before: nil, quick: false }.freeze

  # Setters for a block: `title 'x'` inside, `@title = 'x'` outside.
  module Settings
    def setting(*names)
      names.each do |n|
        define_method(n) do |*v|
          instance_variable_set(:"@#{n}", v.first) unless v.empty?
          instance_variable_get(:"@#{n}")
        end
      end
    end
  end

  @cases = {}
  @peers = {}
  @gates = {}

  class << self
    attr_reader :cases, :peers, :gates

    def case(name, title:, resource:, **more)
      @cases[name] = Case.new(name: name, title: title, resource: resource, **DEFAULTS, **more)
    end

    def peer(name, &block)
      @peers[name] = Peer.new(name).tap { |p| p.instance_eval(&block) }
    end

    def gate(name, &block)
      @gates[name] = Gate.new(name).tap { |g| g.instance_eval(&block) }
    end

    def load_folder(folder)
      Dir[File.join(ROOT, 'bench', folder, '*.rb')].sort.each { |f| require f }
    end

    # Names given by the user, in the order of the list; nil = all of them.
    def pick(list, wanted, what)
      return list.values unless wanted

      unknown = wanted.map(&:to_sym) - list.keys
      raise UsageError, "no #{what} #{unknown.join(', ')}; there are: #{list.keys.join(', ')}" if unknown.any?

      wanted.map { |n| list[n.to_sym] }
    end
  end

  class UsageError < StandardError; end
end
