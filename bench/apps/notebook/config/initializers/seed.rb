# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Ten notes for the page that is measured.

Rails.application.config.after_initialize do
  (1..10).each { |i| Note.create!(title: "Note #{i}", text: "What there is to say about #{i}. " * 5) } if Note.none?
end
