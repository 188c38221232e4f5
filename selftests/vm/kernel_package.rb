# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Debian's generic kernel of a series ("6.12"), fetched with apt by its name and unpacked below build/vm.
# Nothing is installed.

require "fileutils"
require "open3"

class KernelPackage
  # It cannot be had here: a reason to skip.
  class Unavailable < StandardError; end

  # Only the generic flavour: the cloud one lacks 9p.
  NAME = /\Alinux-image-(\d+\.\d+)\.\d+(?:-\d[\w.]*)?(?:\+[\w.~]+)?-amd64\z/

  # What is meant by "6.12", or by a folder that has one unpacked already.
  def self.folder(series, cache)
    File.directory?(series) ? series : new(series, cache).folder
  end

  def initialize(series, cache)
    @series = series
    @cache = cache
  end

  # The folder with boot/ and lib/modules/; the newest that the sources have, or that is here already.
  def folder
    FileUtils.mkdir_p(@cache)
    File.open(File.join(@cache, "lock"), File::RDWR | File::CREAT) do |lock|
      lock.flock(File::LOCK_EX)
      fetch_newest || unpacked.last || raise(Unavailable, "no package of Linux #{@series}: #{@problem}")
    end
  end

  # The names of this series' packages among @names, oldest first.
  def pick(names)
    names.select { |name| name[NAME, 1] == @series }.sort_by { |name| name.scan(/\d+/).map(&:to_i) }
  end

  private

  def unpacked
    pick(Dir.children(@cache)).map { |name| File.join(@cache, name) }
  end

  def fetch_newest
    2.times do
      name = newest
      note("not among apt's sources") unless name || @problem
      folder = name && (present(name) || fetch(name))
      return folder if folder

      update_lists
    end
    nil
  end

  def present(name)
    path = File.join(@cache, name)
    path if File.directory?(path)
  end

  # The sources may only refer to a name; what has a record can be fetched.
  def newest
    names, status = Open3.capture2("apt-cache", "pkgnames", "linux-image-#{@series}")
    return unless status.success?

    pick(names.split).reverse.find { |name| system("apt-cache", "show", name, out: File::NULL, err: File::NULL) }
  rescue Errno::ENOENT
    note("no apt here")
  end

  # There may be none yet, and old ones name packages that are gone.
  def update_lists
    sudo = Process.euid.zero? ? [] : %w[sudo -n]
    system(*sudo, "apt-get", "update", "-q", out: File::NULL, err: File::NULL)
  end

  def fetch(name)
    target = File.join(@cache, name)
    work = "#{target}.new"
    FileUtils.rm_rf(work)
    FileUtils.mkdir_p(work)
    warn "vm: fetching #{name}"
    # As root, apt would become a user who may not write here.
    said, status = Open3.capture2e("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name, chdir: work)
    return note(said.lines.last.to_s.strip) unless status.success?

    unpack(Dir[File.join(work, "*.deb")].first, work)
    unpacked.each { |old| FileUtils.rm_rf(old) }
    File.rename(work, target)
    target
  ensure
    FileUtils.rm_rf(work)
  end

  def unpack(package, folder)
    system("dpkg", "-x", package, folder) or raise "dpkg could not unpack #{package}"
    File.delete(package)
  end

  def note(problem)
    @problem = problem
    nil
  end
end
