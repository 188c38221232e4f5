# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An archive as the kernel unpacks it into its first root: "newc" of the kernel's
# driver-api/early-userspace/buffer-format.rst. The kernel takes several in a row.

class Cpio
  FOLDER = 0o040755
  FILE = 0o100644
  PROGRAM = 0o100755

  def initialize
    @nr = 0
    @records = []
  end

  def folder(path)
    @records << record(path, FOLDER, "")
  end

  def file(path, bytes, mode = FILE)
    @records << record(path, mode, bytes)
  end

  def to_s
    @records.join + record("TRAILER!!!", 0, "")
  end

  private

  # Magic, then 13 numbers in hex: inode, mode, uid, gid, links, time, size, four for devices, length of
  # the name, sum.
  def record(path, mode, content)
    name = "#{path}\0"
    numbers = [@nr += 1, mode, 0, 0, 1, 0, content.bytesize, 0, 0, 0, 0, name.bytesize, 0]
    padded("070701#{format("%08x" * 13, *numbers)}#{name}") + padded(content)
  end

  def padded(part)
    part.b + "\0".b * (-part.bytesize % 4)
  end
end
