# frozen_string_literal: true

module Api
  class NotesController < ActionController::API
    rescue_from(ActiveRecord::RecordNotFound) { |e| render json: { error: e.message }, status: :not_found }
    rescue_from(ActiveRecord::RecordInvalid) { |e| render json: { errors: e.record.errors }, status: :unprocessable_entity }

    def index
      render json: Note.order(:id).limit(20)
    end

    def show
      render json: Note.find(params[:id])
    end

    def create
      render json: Note.create!(params.permit(:title, :text)), status: :created
    end
  end
end
