# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The server as a test drives it: the real program on a port of its own, its log at hand.
#
#   server = Server.start("--workers", "1")       more arguments as for the program
#   server.exchange("GET / HTTP/1.1\r\n...")      sends, reads until the server closes
#   server.stop                                   TERM, waits; a Process::Status
#
# Each is an instance of its own, unless the arguments name one. Those that a script starts by other means share
# one name with it.
#
# A server started within a case ends with it; one started outside of any ends with the script.
# HYPERION_BIN or HYPERION_BUILD says which program; HYPERION_MODE how it runs: normal, no_uring
# (seccomp refuses io_uring), nobody (an unprivileged user).

require "fileutils"
require "socket"
require "tempfile"
require "tmpdir"

class Server
  ROOT = File.expand_path("../..", __dir__)
  BUILD = File.expand_path(ENV.fetch("HYPERION_BUILD", "build"), ROOT)
  MODE = ENV.fetch("HYPERION_MODE", "normal")
  # Below the ephemeral range: no outgoing connection can take one of these.
  PORTS = (15_000..29_999)
  NOBODY = 65_534

  class DidNotStart < StandardError; end

  @running = []

  class << self
    attr_reader :running

    def statistics(instance)
      ["/sys/fs/bpf/hyperion", "/run/hyperion", "/dev/shm/hyperion-#{NOBODY}", "/dev/shm/hyperion-#{Process.uid}"]
        .map { |base| File.join(base, instance) }
    end

    def next_number
      @number = (@number || 0) + 1
    end

    # @port: nil = a free one; @bind: another URI instead of tcp://127.0.0.1:PORT, or false for none.
    # @wait: whether to wait until it listens. @no_uring, @nobody: as the modes, for this one.
    # @out, @err: where these go instead of the log; @before: a command that runs it; anything else is
    # for Process.spawn.
    def start(*args, port: nil, bind: nil, env: {}, wait: true, **how)
      server = new(args, port || free_port, bind, env, **how)
      running << server
      Tap.after { server.kill } if Tap.inside
      server.wait_until_listening if wait && bind.nil?
      server
    end

    # Locked until this script ends: two servers on one port would share it by SO_REUSEPORT.
    def free_port
      100.times do
        port = rand(PORTS)
        lock = File.open(File.join(Dir.tmpdir, "hyperion-selftest-port-#{port}"), File::RDWR | File::CREAT, 0o666)
        if lock.flock(File::LOCK_EX | File::LOCK_NB) && unused?(port)
          (@locks ||= []) << lock
          return port
        end
        lock.close
      end
      raise DidNotStart, "no free port"
    end

    def unused?(port)
      TCPServer.new("127.0.0.1", port).close
      true
    rescue Errno::EADDRINUSE
      false
    end
  end

  attr_reader :pid, :port, :started_at, :folder, :instance

  def initialize(args, port, bind, env, no_uring: MODE == "no_uring", nobody: MODE == "nobody", chdir: ROOT,
                 out: nil, err: nil, before: [], **options)
    @port = port
    @folder = chdir
    @started_at = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    @log = Tempfile.new("hyperion-log")
    words = (no_uring ? [File.join(BUILD, "selftests/harness/seccomp_no_uring")] : []) + before + as_user(nobody)
    words += bind == false ? [] : ["-b", bind || "tcp://127.0.0.1:#{port}"]
    at = args.index("--instance")
    @instance = at ? args[at + 1] : "selftest-#{Process.pid}-#{self.class.next_number}"
    env = { "HYPERION_INSTANCE" => at ? nil : @instance }.merge(env)
    args += ["--no-app"] unless args.any? { |a| a.to_s.end_with?(".ru") }
    @pid = Process.spawn(env, *words, *args.map(&:to_s), in: File::NULL, out: out || [@log.path, "a"],
                         err: err || [@log.path, "a"], pgroup: true, chdir: chdir, **options)
  end

  def log
    File.read(@log.path)
  end

  def connect
    socket = TCPSocket.new("127.0.0.1", port)
    socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    return socket unless block_given?

    begin
      yield socket
    ensure
      socket.close
    end
  end

  # Everything the server answers until it closes.
  def exchange(bytes)
    connect do |socket|
      socket.write(bytes)
      socket.read
    end
  end

  # Looks into /proc instead of connecting: a connection would show in the server's counters.
  def wait_until_listening(seconds: 10)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds * Tap::SCALE
    until listening?
      raise DidNotStart, "the server ended: #{@status.inspect}\n#{log}" unless alive?
      raise DidNotStart, "not listening after #{seconds} s\n#{log}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.01
    end
  end

  def listening?
    local = format(":%04X", port)
    %w[/proc/net/tcp /proc/net/tcp6].any? do |path|
      File.exist?(path) && File.foreach(path).any? { |line| f = line.split; f[1].end_with?(local) && f[3] == "0A" }
    end
  end

  def alive?
    @status ||= Process.wait2(pid, Process::WNOHANG)&.last
    @status.nil?
  end

  def signal(name)
    Process.kill(name, pid)
  end

  # Process ids of its children.
  def workers
    File.read("/proc/#{pid}/task/#{pid}/children").split.map(&:to_i)
  end

  # Waits for the end, however it comes.
  def wait(seconds: 10)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds * Tap::SCALE
    while alive?
      raise Tap::Failed, "server #{pid} still runs after #{seconds} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.01
    end
    @status
  end

  def stop(name = :TERM, seconds: 10)
    signal(name) if alive?
    wait(seconds: seconds)
  end

  # For the end of a case: whatever is left of the group goes at once.
  def kill
    Process.kill(:KILL, -pid)
    Process.wait(pid) if alive?
  rescue Errno::ESRCH, Errno::ECHILD
    nil
  ensure
    Server.running.delete(self)
    FileUtils.remove_entry(@copy, true) if @copy
    FileUtils.rm_rf(statistics) unless Server.running.any? { |server| server.instance == instance }
  end

  # Where those of the instance may lie.
  def statistics
    self.class.statistics(instance)
  end

  private

  def binary
    File.expand_path(ENV.fetch("HYPERION_BIN", File.join(BUILD, "hyperion-bpf")), ROOT)
  end

  # The tree may lie where nobody can look: a copy of the program does not.
  def as_user(nobody)
    return [binary] unless nobody && Process.euid.zero?

    @copy = Dir.mktmpdir("hyperion-bin")
    File.chmod(0o755, @copy)
    FileUtils.cp(binary, @copy)
    ["setpriv", "--reuid", NOBODY.to_s, "--regid", NOBODY.to_s, "--clear-groups",
     File.join(@copy, File.basename(binary))]
  end
end

ENV["HYPERION_INSTANCE"] = "selftest-#{Process.pid}"
at_exit { FileUtils.rm_rf(Server.statistics(ENV["HYPERION_INSTANCE"])) }
