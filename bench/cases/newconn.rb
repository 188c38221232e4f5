# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :newconn, title: 'the same, a new connection for every request (100 at a time)', resource: :constant,
                   headers: { 'Connection' => 'close' }, closes: true
