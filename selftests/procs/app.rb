# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Servers with an app, and their processes. The apps answer POST by evaluating what was posted, so that
# a case can say within itself what a handler does:
#
#   server = serve("-w", 2)
#   server.eval("Process.pid")       => "1234"

require_relative "../net/client"
require_relative "../apps/gems"

EVAL = <<~'RUBY'
  run(lambda do |env|
    answer = eval(env["rack.input"].read)
    [200, { "content-type" => "text/plain" }, [answer.to_s]]
  end)
RUBY

# Processes, as /proc shows them.
module Procs
  module_function

  def children(pid)
    File.read("/proc/#{pid}/task/#{pid}/children").split.map(&:to_i)
  rescue Errno::ENOENT, Errno::ESRCH
    []
  end

  # With all their descendants; @pid itself comes first.
  def tree(pid)
    [pid] + children(pid).flat_map { |child| tree(child) }
  end

  def state(pid)
    File.read("/proc/#{pid}/stat")[/\) (\w)/, 1]
  rescue Errno::ENOENT, Errno::ESRCH
    nil
  end

  def alive?(pid)
    ![nil, "Z", "X"].include?(state(pid))
  end

  def title(pid)
    File.read("/proc/#{pid}/cmdline").delete("\0")
  rescue Errno::ENOENT, Errno::ESRCH
    ""
  end

  # Of /proc/PID/status.
  def status(pid, key)
    File.read("/proc/#{pid}/status")[/^#{key}:\s*(.*)/, 1]
  end

  # What its descriptors are: number => "socket:[123]".
  def fds(pid)
    Dir.children("/proc/#{pid}/fd").filter_map do |fd|
      [fd.to_i, File.readlink("/proc/#{pid}/fd/#{fd}")]
    rescue Errno::ENOENT
      nil # closed by now
    end.to_h
  end

  # Living processes of a process group, whoever their parent is.
  def group(pgid)
    Dir.glob("/proc/[0-9]*").filter_map do |dir|
      stat = File.read("#{dir}/stat")[/\) (.*)/, 1].split
      File.basename(dir).to_i if stat[2].to_i == pgid && stat[0] != "Z"
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    end
  end
end

class Server
  attr_writer :folder # that the app is in

  def read(name)
    File.read(File.join(folder, name))
  rescue Errno::ENOENT
    ""
  end

  def write(name, text = "")
    File.write(File.join(folder, name), text)
  end

  def children
    Procs.children(pid)
  end

  # Ready to fork. (What the app forks while it is loaded looks like one that loads.)
  def mold
    children.find { |child| Procs.title(child) == "hyperion-bpf: mold" }
  end

  # Index => pid of the workers that serve.
  def workers_by_index
    children.filter_map { |child| (index = Procs.title(child)[/: worker (\d+) (?:draining )?\[/, 1]) && [index.to_i, child] }.to_h
  end

  def worker(index = 0)
    workers_by_index[index]
  end

  # Who serves there after @old.
  def other_worker(old, index = 0)
    eventually("another worker #{index}", seconds: 10) { (pid = worker(index)) && pid != old && pid }
  end

  # The mold after @old.
  def other_mold(old)
    eventually("another mold", seconds: 10) { (pid = mold) && pid != old && pid }
  end

  # All workers accept, as the supervisor says once, and are its children: the process between them and
  # the mold may live a moment longer.
  def wait_until_serving(seconds: 20)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds * Tap::SCALE
    until (nr = log[/^\[#{pid}\] info: hyperion-bpf \S+ workers=(\d+)/, 1]) && workers_by_index.size == nr.to_i
      raise DidNotStart, "the server ended: #{@status.inspect}\n#{log}" unless alive?
      raise DidNotStart, "not serving after #{seconds} s\n#{log}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.01
    end
    self
  end

  # Asks for @code to be run; to be read by Client#answer.
  def ask(code, *headers)
    client.ask(code, *headers)
  end

  # What @code gives, as text; over a connection of its own.
  def eval(code)
    client = ask(code, "Connection: close")
    answer = client.answer
    client.close
    raise Tap::Failed, "no answer to #{code}" unless answer
    raise Tap::Failed, "#{answer.status} to #{code}\n#{log}" unless answer.status == 200

    answer.body
  end

  # All that live in its process group, whoever their parent is.
  def group
    Procs.group(pid)
  end
end

class Client
  def ask(code, *headers)
    write("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: #{code.bytesize}\r\n" \
          "#{headers.map { |h| "#{h}\r\n" }.join}\r\n#{code}")
  end
end

# Where a process finds the gems of the tests. Ruby does not free what it has when it ends: sanitizer
# builds are not to report that.
def gem_env
  (Dir.exist?(Gems::PATH) ? Gems.path : Gems.outside).merge("ASAN_OPTIONS" => [ENV["ASAN_OPTIONS"], "detect_leaks=0"].compact.join(":"))
end

# A folder with @files; anybody may write there. "config.ru" is EVAL unless it says otherwise.
def app_folder(files = {})
  dir = File.realpath(open_folder)
  { "config.ru" => EVAL }.merge(files).each do |name, text|
    FileUtils.mkdir_p(File.dirname(File.join(dir, name)))
    File.write(File.join(dir, name), text)
  end
  dir
end

# A server with an app in a folder of its own: server.folder. @wait: false, or until it serves.
def serve(*args, files: {}, env: {}, wait: true, folder: app_folder(files), **how)
  server = Server.start("-e", "production", "--no-log-requests", *args, "config.ru",
                        env: gem_env.merge(env), chdir: folder, wait: false, **how)
  server.folder = folder
  server.wait_until_serving if wait
  server
end

# Both ways in which handlers run.
def on_threads(name, seconds: 20)
  [5, 0].each { |threads| test("#{name} (threads #{threads})", seconds: seconds) { yield threads } }
end

# The whole group ends with the case, whoever was re-parented.
def assert_nothing_remains(server)
  eventually("all processes of the server to end") { server.group.empty? }
  refute Server.running.include?(server) && server.alive?
  assert Server.unused?(server.port), "the port is still taken"
end
