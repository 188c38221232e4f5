# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :constant, title: 'GET of a constant answer, 100 kept connections', resource: :constant, quick: true
