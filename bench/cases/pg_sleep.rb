# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :pg_sleep, title: 'a query of 10 ms to PostgreSQL for each request, 50 kept connections', resource: :pg, connections: 50
