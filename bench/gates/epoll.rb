# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :epoll do
  says 'where io_uring is forbidden, epoll is nearly as good'
  on :constant
  ratio :'hyperion-epoll', :hyperion, at_most: 1.15
end
