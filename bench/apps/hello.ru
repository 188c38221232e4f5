# SPDX-License-Identifier: MIT
# frozen_string_literal: true

run ->(_env) { [200, { 'content-type' => 'text/plain' }, ["OK\n"]] }
