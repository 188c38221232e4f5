# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# One command in a VM of its own, as root, on an unpacked Debian kernel; emulated, so no right to
# /dev/kvm is needed. It sees the host's files but changes none, except in folders given as shares.
#
#   machine = Machine.new(GuestKernel.new(folder), seconds: 300, shares: ["build/vm/out"])
#   machine.run("selftests/run", "unit/stats_test")     exit status; output goes to ours

require "etc"
require "io/wait"
require "shellwords"
require "tmpdir"
require_relative "cpio"
require_relative "guest_kernel"

class Machine
  class DidNotBoot < StandardError; end
  class Died < StandardError; end

  ROOT = File.expand_path("../..", __dir__)
  QEMU = ENV.fetch("QEMU", "qemu-system-x86_64")
  TIME_LIMIT = 124 # as timeout(1)
  TRIES = 3 # a loaded machine; a panic in one of a hundred boots
  GRACE_SECONDS = 30 # for what a guest does beside the command
  CHANNELS = %w[stdout stderr status].freeze

  # Fewer surprises of the emulated clock, a reset instead of a hang, no time for what cannot matter here.
  APPEND = %w[console=ttyS0 quiet loglevel=5 panic=-1 reboot=t oops=panic no_timer_check tsc=reliable
              nowatchdog mitigations=off nokaslr random.trust_cpu=on rcupdate.rcu_expedited=1 audit=0
              apparmor=0 net.ifnames=0 cryptomgr.notests=1].freeze

  attr_reader :boot_seconds

  # @seconds for the command, @boot_seconds for each try to get there; @shares: folders that it may write
  # to, seen at their own paths; @env: what it finds in its environment beside PATH; @console: an IO for
  # what the kernel says, if anyone wants it.
  def initialize(kernel, seconds: 120, boot_seconds: 90, shares: [], env: {}, console: nil, out: $stdout, err: $stderr)
    @kernel = kernel
    @seconds = seconds
    @boot_limit = boot_seconds
    @shares = shares.map { |folder| File.realpath(folder) }
    @env = { "HOME" => "/root", "LANG" => "C.UTF-8", "TERM" => "dumb", "HYPERION_VM" => kernel.release }.merge(env)
    @console = console
    @out = out
    @err = err
  end

  # Only what never started is tried again: a command may have had effects.
  def run(*words)
    Dir.mktmpdir("vm") do |work|
      @work = work
      File.binwrite(path("initrd"), File.binread(@kernel.initrd) + command_archive(words).to_s)
      1.upto(TRIES) do |try|
        status = boot
        return status if status

        @err.puts "vm: #{@kernel.release}: boot #{try} of #{TRIES} failed", File.read(path("qemu.log")), last_words
      end
    end
    raise DidNotBoot, "#{@kernel.release} did not boot"
  end

  private

  def path(name)
    File.join(@work, name)
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def last_words
    File.read(path("console")).scrub("?").lines.last(40).join
  end

  # What differs from run to run.
  def command_archive(words)
    archive = Cpio.new
    conf = { "RELEASE" => @kernel.release, "MODULES" => @kernel.modules, "TREE" => ROOT, "SHARES" => @shares.join(" ") }
    archive.file("vm.conf", conf.map { |name, value| "#{name}=#{value.shellescape}\n" }.join)
    archive.file("vm.guest", File.read(File.join(__dir__, "guest/command")))
    archive.file("vm.command", command_script(words))
    archive
  end

  def command_script(words)
    env = { "PATH" => ENV.fetch("PATH") }.merge(@env)
    <<~SCRIPT
      #{env.map { |name, value| "export #{name}=#{value.shellescape}" }.join("\n")}
      cd #{Dir.pwd.shellescape} || exit 125
      exec timeout -k 5 #{@seconds} #{words.shelljoin}
    SCRIPT
  end

  # nil when the guest did not get as far as to start the command.
  def boot
    pipes = CHANNELS.map { IO.pipe }
    File.write(path("console"), "")
    pid = start_qemu(pipes.map(&:last))
    began = now
    copies = [copy(pipes[0][0], @out), copy(pipes[1][0], @err)]
    watcher = @console && follow_console
    status = pipes[2][0]
    return unless line(status, began + @boot_limit) == "start"

    @boot_seconds = now - began
    judge(line(status, now + @seconds + GRACE_SECONDS))
  ensure
    pid && end_qemu(pid)
    copies&.each(&:join)
    watcher&.kill
    pipes.flatten.each(&:close)
  end

  def start_qemu(ends)
    fds = ends.each_with_index.to_h { |io, nr| [10 + nr, io] }
    # Whichever way we end, qemu does not stay.
    Process.spawn("setpriv", "--pdeathsig", "KILL", QEMU, *arguments, in: File::NULL,
                  %i[out err] => path("qemu.log"), **fds)
  ensure
    ends.each(&:close)
  end

  # The next line, without its end; nil at the end of the stream, :late when it does not come.
  def line(io, deadline)
    text = +""
    until text.end_with?("\n")
      return :late unless io.wait_readable([deadline - now, 0].max)

      byte = io.read_nonblock(1, exception: false)
      return if byte.nil?

      text << byte if byte.is_a?(String)
    end
    text.chomp
  end

  def judge(said)
    return TIME_LIMIT if said == :late

    code = said.to_s[/\Aexit (\d+)/, 1] or raise Died, "#{@kernel.release} ended without a status:\n#{last_words}"
    complaints = File.read(path("console")).scrub("?").lines.grep(/\b(BUG|WARNING|Oops|Call Trace)\b/)
    @err.puts "vm: the kernel complained:", last_words unless complaints.empty?
    code.to_i
  end

  # It ends by itself after the status, by a reset.
  def end_qemu(pid)
    deadline = now + 5
    until Process.wait(pid, Process::WNOHANG)
      Process.kill(:KILL, pid) if now > deadline || @boot_seconds.nil?
      sleep 0.02
    end
  end

  def copy(from, to)
    Thread.new do
      while (chunk = from.readpartial(65_536))
        to.write(chunk)
        to.flush
      end
    rescue EOFError
      nil
    end
  end

  def follow_console
    Thread.new do
      File.open(path("console")) do |file|
        loop { (text = file.read).empty? ? sleep(0.1) : @console.write(text) }
      end
    end
  end

  def arguments
    words = %W[-nodefaults -no-user-config -display none -no-reboot -M q35 -accel tcg,thread=multi,tb-size=256]
    words += %W[-cpu max,la57=off -smp #{[Etc.nprocessors, 2].min} -m 2048 -rtc base=utc]
    words += ["-kernel", @kernel.image, "-initrd", path("initrd"), "-append", APPEND.join(" ")]
    words += %W[-chardev file,id=console,path=#{path("console")} -serial chardev:console]
    words += %w[-device virtio-rng-pci -device virtio-serial-pci]
    CHANNELS.each_with_index do |name, nr|
      words += %W[-chardev file,id=#{name},path=/dev/fd/#{10 + nr} -device virtserialport,chardev=#{name},name=#{name}]
    end
    words += share("host", "/", ",readonly=on")
    @shares.each_with_index { |folder, nr| words += share("share#{nr}", folder) }
    words
  end

  # The host's root may be made of several file systems: their inode numbers are told apart.
  def share(tag, folder, more = "")
    %W[-fsdev local,id=#{tag},path=#{folder.gsub(",", ",,")},security_model=none,multidevs=remap#{more}
       -device virtio-9p-pci,fsdev=#{tag},mount_tag=#{tag}]
  end
end
