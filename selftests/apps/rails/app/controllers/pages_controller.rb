# frozen_string_literal: true

class PagesController < ApplicationController
  def about
    @words = %w[plain honest small]
  end

  def visits
    session[:visits] = session[:visits].to_i + 1
    render plain: "visit #{session[:visits]}\n"
  end

  def old
    redirect_to root_path, status: :moved_permanently
  end

  def boom
    raise ArgumentError, "boom, on purpose"
  end

  # Two fields of one name, one of them signed.
  def both_cookies
    cookies[:plain] = { value: "a b", httponly: true }
    cookies.signed[:signed] = cookies.signed[:signed].to_i + 1
    render plain: "signed #{cookies.signed[:signed]}\n"
  end

  def versions
    return unless stale?(etag: params[:version], last_modified: Time.utc(2020, 1, 1), public: true)

    render plain: "version #{params[:version]}\n"
  end

  def worker
    render plain: "#{Process.pid}\n"
  end
end
