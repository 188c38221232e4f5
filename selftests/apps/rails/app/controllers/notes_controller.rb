# frozen_string_literal: true

# Pages: a layout, a template, a form with its token, a model.
class NotesController < ApplicationController
  def index
    @notes = Note.order(:id).limit(20)
  end

  def show
    @note = Note.find(params[:id])
    render :show if stale?(@note)
  end

  def create
    note = Note.create!(params.require(:note).permit(:title, :text))
    redirect_to note_path(note), notice: "written: #{note.title}", status: :see_other
  end
end
