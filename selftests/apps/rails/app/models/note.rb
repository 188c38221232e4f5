# frozen_string_literal: true

class Note < ActiveRecord::Base
  validates :title, presence: true
end
