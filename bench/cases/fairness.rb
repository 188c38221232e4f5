# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :fairness, title: 'hello to 100 kept connections, each counted: least / most answers', resource: :hello, load: :load
