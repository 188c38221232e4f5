# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# An unpacked kernel package, made ready to boot: its modules indexed, its image uncompressed, and a first
# root with what it takes to mount the real one. What is made stays in the package's folder.

require "open3"
require "zlib"
require_relative "cpio"

class GuestKernel
  class Unusable < StandardError; end

  # For the root and the three channels; each brings what it depends on.
  BOOT_MODULES = %w[virtio_pci virtio_console 9pnet_virtio 9p overlay].freeze
  BUSYBOX = "/bin/busybox"
  INIT = File.join(__dir__, "guest/init")
  UNPACK = { "xz" => %w[xz -dc --single-stream], "zstd" => %w[zstd -dcq] }.freeze

  attr_reader :release, :modules, :image, :initrd

  def initialize(folder)
    @folder = File.realpath(folder)
    @release = Dir.children(File.join(@folder, "boot")).filter_map { |name| name[/\Avmlinuz-(.+)/, 1] }.max
    raise Unusable, "no boot/vmlinuz-* in #{@folder}" unless @release

    File.open(File.join(@folder, "lock"), File::RDWR | File::CREAT) do |lock|
      lock.flock(File::LOCK_EX)
      @modules = index_modules
      @image = make_image
      @initrd = make_initrd
    end
  rescue Errno::ENOENT => e
    raise Unusable, e.message
  end

  private

  # depmod's work at installation, which there was none of.
  def index_modules
    base = [@folder, File.join(@folder, "usr")].find { |path| File.directory?(File.join(path, "lib/modules", release)) }
    raise Unusable, "no modules of #{release} in #{@folder}" unless base

    path = File.join(base, "lib/modules", release)
    unless File.size?(File.join(path, "modules.dep"))
      system({ "PATH" => "#{ENV["PATH"]}:/usr/sbin:/sbin" }, "depmod", "-b", base, release) or
        raise Unusable, "depmod failed"
    end
    path
  end

  # Under emulation the kernel takes seconds to unpack itself; as an ELF file it starts at once (PVH).
  def make_image
    packed = File.join(@folder, "boot/vmlinuz-#{release}")
    made("vmlinux", packed) { unpack_image(File.binread(packed)) || File.binread(packed) }
  end

  def make_initrd
    made("initrd", INIT, BUSYBOX, __FILE__) { initrd_archive.to_s }
  end

  # The file @name with what the block answers, unless it is there and newer than @sources.
  def made(name, *sources)
    path = File.join(@folder, name)
    unless File.exist?(path) && sources.none? { |source| newer?(source, path) }
      File.binwrite("#{path}.new", yield)
      File.rename("#{path}.new", path)
    end
    path
  end

  def newer?(source, path)
    File.exist?(source) && File.mtime(source) > File.mtime(path)
  end

  # Offsets as in the kernel's arch/x86/boot.rst. The payload ends with the length of what it unpacks to;
  # nil when it does not come to that.
  def unpack_image(image)
    return unless image[0x202, 4] == "HdrS"

    setup = (image.getbyte(0x1f1) + 1) * 512
    payload = image[setup + image[0x248, 4].unpack1("V"), image[0x24c, 4].unpack1("V")]
    unpacked = decompress(payload[0...-4], payload)
    unpacked if unpacked && unpacked.bytesize == payload[-4..].unpack1("V") && unpacked.start_with?("\x7fELF".b)
  end

  # @whole: gzip's own format has that length, too.
  def decompress(bytes, whole = bytes)
    case bytes
    when /\A\xfd7zXZ/n then pipe("xz", bytes)
    when /\A\x28\xb5\x2f\xfd/n then pipe("zstd", bytes)
    when /\A\x1f\x8b/n then Zlib.gunzip(whole)
    end
  end

  def pipe(tool, bytes)
    Open3.capture2(*UNPACK.fetch(tool), stdin_data: bytes, binmode: true).first
  end

  def initrd_archive
    raise Unusable, "#{BUSYBOX} is missing: busybox-static" unless File.executable?(BUSYBOX)

    files = BOOT_MODULES.reduce([]) { |list, name| with_dependencies(name, list) }
    archive = Cpio.new
    %w[bin modules proc sys dev lower layer root tree].each { |path| archive.folder(path) }
    archive.file("bin/busybox", File.binread(BUSYBOX), Cpio::PROGRAM)
    archive.file("init", File.binread(INIT), Cpio::PROGRAM)
    files.each { |file| archive.file("modules/#{module_name(file)}.ko", module_bytes(file)) }
    archive.file("modules/order", files.map { |file| "#{module_name(file)}\n" }.join)
    archive
  end

  def module_name(file)
    File.basename(file)[/\A[^.]+/].tr("-", "_")
  end

  def module_bytes(file)
    bytes = File.binread(File.join(modules, file))
    bytes.start_with?("\x7fELF".b) ? bytes : decompress(bytes)
  end

  # Appends the file of module @name after those that it needs; what is built in has none.
  def with_dependencies(name, list)
    file, needed = dependencies[name]
    return list unless file

    needed.each { |other| with_dependencies(module_name(other), list) }
    list << file unless list.include?(file)
    list
  end

  def dependencies
    @dependencies ||= File.readlines(File.join(modules, "modules.dep"), chomp: true).to_h do |line|
      file, needed = line.split(":", 2)
      [module_name(file), [file, needed.to_s.split]]
    end
  end
end
