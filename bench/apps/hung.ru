# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Hello, and at /stuck a handler that hangs in native code with the GVL in its hand, as a bad extension does: it takes no CPU.
require 'fiddle'

hang = Fiddle::Function.new(Fiddle::Handle::DEFAULT['sleep'], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true)

run lambda { |env|
  hang.call(600) if env['PATH_INFO'] == '/stuck'
  [200, { 'content-type' => 'text/plain' }, ["OK\n"]]
}
