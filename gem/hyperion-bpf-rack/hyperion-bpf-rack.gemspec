# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "hyperion-bpf-rack"
  spec.version = "0.1.0"
  spec.summary = "rackup -s hyperion, rails server -u hyperion"
  spec.description = "Starts the server program hyperion-bpf where Ruby's tools expect a Rack handler."
  spec.authors = ["the authors of hyperion-bpf"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", base: __dir__]
  spec.add_dependency "rack", ">= 2.2"
end
