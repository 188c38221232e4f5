# frozen_string_literal: true

Rails.application.routes.draw do
  root "notes#index"
  resources :notes, only: %i[index show create]

  namespace :api do
    resources :notes, only: %i[index show create]
  end

  scope controller: :pages do
    get "about"
    get "visits"
    get "old"
    get "boom"
    get "cookies", action: :both_cookies
    get "versions/:version", action: :versions
    get "worker"
  end

  scope controller: :files do
    post "upload"
    get "numbers"
    get "sent"
    get "made"
  end

  get "events", controller: :events, action: :index
end
