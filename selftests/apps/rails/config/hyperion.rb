# frozen_string_literal: true

# Uploads of more than the default of 16 MiB.
max_body_bytes 32 * 1024 * 1024
