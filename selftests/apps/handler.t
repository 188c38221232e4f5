#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The gem hyperion-bpf-rack: rackup -s hyperion with Rack 2 and 3, rails server -u hyperion.

require "json"
require "tmpdir"
require_relative "../harness/tap"
require_relative "gems"
require_relative "curl"

PROGRAM = File.expand_path(ENV.fetch("HYPERION_BIN", File.join(Server::BUILD, "hyperion-bpf")), Server::ROOT)
# As if the Gemfile had it; rails/Gemfile does.
HANDLER = File.join(Server::ROOT, "gem/hyperion-bpf-rack/lib")
NO_URING = Server::MODE == "no_uring" ? [File.join(Server::BUILD, "selftests/harness/seccomp_no_uring")] : []

TELL = <<~RUBY
  require "json"
  run ->(env) { [200, { "content-type" => "application/json" }, [JSON.generate(
    "rack" => Rack.release, "environment" => ENV["RACK_ENV"], "threads" => env["rack.multithread"], "early" => defined?(EARLY),
    "warn" => $VERBOSE, "path" => $LOAD_PATH, "port" => env["SERVER_PORT"])]] }
RUBY

# What somebody would type. Its process becomes the server.
class Command
  attr_reader :pid

  def initialize(*argv, gems:, chdir:, env: {})
    @log = Tempfile.new("command")
    @pid = Process.spawn(Gems.bundle(gems).merge("HYPERION_BPF" => PROGRAM).merge(env), *NO_URING, "bundle", "exec", *argv,
                         chdir: chdir, in: File::NULL, out: [@log.path, "a"], err: [@log.path, "a"], pgroup: true)
    Tap.after { kill }
  end

  def log
    File.read(@log.path)
  end

  # The first lines may come after the first answer.
  def says(pattern)
    eventually("#{pattern.inspect}; it said\n#{log}") { log.match?(pattern) }
  end

  def alive?
    @status ||= Process.wait2(@pid, Process::WNOHANG)&.last
    @status.nil?
  end

  def wait
    eventually("the end of #{@pid}; it said\n#{log}", seconds: 10) { !alive? }
    @status
  end

  # As Ctrl-C: to all of the group.
  def interrupt
    Process.kill(:INT, -@pid)
    wait
  end

  def kill
    Process.kill(:KILL, -@pid)
    Process.wait(@pid) if alive?
  rescue Errno::ESRCH, Errno::ECHILD
    nil
  end

  # Waits for an answer on @port.
  def answer(port, target = "/")
    eventually("an answer; it said\n#{log}", seconds: 15) do
      flunk("it ended:\n#{log}") unless alive?
      Server.unused?(port) ? nil : true
    end
    Curl.new(port).get(target)
  end

  def server?
    File.readlink("/proc/#{@pid}/exe") == File.realpath(PROGRAM)
  end
end

def site(files = {})
  folder = File.realpath(Dir.mktmpdir("site"))
  Tap.after { FileUtils.rm_rf(folder) }
  { "config.ru" => TELL }.merge(files).each do |name, text|
    FileUtils.mkdir_p(File.dirname(File.join(folder, name)))
    File.write(File.join(folder, name), text)
  end
  folder
end

def case_with(gems, name, seconds: 30, &block)
  test(name, seconds: seconds) do
    needs("gems", gems)
    block.call
  end
end

# --- rackup ---

%w[rack3 rack2].each do |gems|
  rackup = lambda do |*argv, folder, env: {}|
    Command.new("rackup", "-s", "hyperion", *argv.map(&:to_s), gems: gems, chdir: folder, env: { "RUBYLIB" => HANDLER }.merge(env))
  end

  case_with(gems, "rackup starts the program in its own place (#{gems})") do
    folder = site("app/other.ru" => TELL)
    port = Server.free_port
    command = rackup.call("-o", "127.0.0.1", "-p", port, "-E", "production", "-O", "Threads=3:3", "-O", "Workers=1", "-P", "rack.pid",
                          "app/other.ru", folder)
    facts = JSON.parse(command.answer(port).body)
    assert_equal [gems[-1], "production", true, port.to_s], facts.values_at("rack", "environment", "threads", "port").then { |r, *rest| [r[0], *rest] }
    assert command.server?
    command.says(/workers=1 threads=3 .*environment=production pid=#{command.pid}/)
    assert_equal "#{command.pid}\n", File.read(File.join(folder, "rack.pid"))
    assert_equal 0, command.interrupt.exitstatus, command.log
    assert_equal ["config.ru"], Dir.children(folder) - ["app"]
  end

  case_with(gems, "what rackup says to Ruby arrives there (#{gems})") do
    folder = site("lib/early.rb" => "EARLY = 1")
    port = Server.free_port
    command = rackup.call("-o", "127.0.0.1", "-p", port, "-I", File.join(folder, "lib"), "-r", "early", "-w", "-q", "-O", "Arguments=-w 1 -t 1", folder)
    facts = JSON.parse(command.answer(port).body)
    assert_equal ["constant", false, true, "development"], facts.values_at("early", "threads", "warn", "environment").then { |e, *rest| [e.to_s.delete('"')[/constant|expression/], *rest] }
    assert_include facts["path"], File.join(folder, "lib")
    refute_match(/method.*GET/, command.log)
  end

  case_with(gems, "config/hyperion.rb goes before rackup's defaults, what is asked for before both (#{gems})") do
    one = Server.free_port
    two = Server.free_port
    folder = site("config/hyperion.rb" => "bind 'tcp://127.0.0.1:#{one}'\nworkers 1\nthreads 2")
    command = rackup.call(folder)
    assert_equal 200, command.answer(one).status
    command.says(/workers=1 threads=2/)
    command.interrupt
    command = rackup.call("-p", two, "-o", "127.0.0.1", folder)
    assert_equal 200, command.answer(two).status
    assert Server.unused?(one)
  end

  case_with(gems, "localhost is all of its addresses (#{gems})") do
    port = Server.free_port
    command = rackup.call("-p", port, "-O", "Workers=1", site)
    assert_equal 200, command.answer(port).status
    addresses = Addrinfo.getaddrinfo("localhost", nil, nil, :STREAM).map(&:ip_address).uniq
    addresses.delete("::1") unless Capabilities.ipv6
    eventually("#{addresses}; it said\n#{command.log}") { command.log.scan(%r{tcp://\[?([^\]\s]*?)\]?:#{port}\b}).flatten.uniq.sort == addresses.sort }
  end

  case_with(gems, "what cannot be: why, and not a moment's service (#{gems})") do
    { { "HYPERION_BPF" => "/nowhere" } => "HYPERION_BPF=/nowhere is no program" }.each do |env, words|
      command = rackup.call(site, env: env)
      assert_equal [1, true], [command.wait.exitstatus, command.log.include?(words)], command.log
    end
    { ["-O", "Threads=many"] => "Threads=many: N or MIN:MAX", ["-o", "192.0.2.1"] => "192.0.2.1 is no address of this machine",
      ["-b", "run(proc { [200, {}, []] })"] => "name a rackup file" }.each do |argv, words|
      command = rackup.call(*argv, site)
      assert_equal [1, true], [command.wait.exitstatus, command.log.include?(words)], command.log
    end
  end

  case_with(gems, "--help shows our options (#{gems})") do
    command = rackup.call("--help", site)
    assert_equal 0, command.wait.exitstatus
    command.says(/Handler::Hyperion:\n.*-O Threads=N .*-O Workers=N .*-O Config=FILE/m)
  end
end

# --- rails server ---

def rails(folder, *argv, env: {})
  Command.new("bin/rails", "server", "-u", "hyperion", *argv.map(&:to_s), gems: "rails", chdir: folder, env: env)
end

def rails_site
  Gems.copy("rails")
end

case_with("rails", "rails server: the app, its pid file, its log on the terminal, Ctrl-C", seconds: 60) do
  folder = rails_site
  pid_file = File.join(folder, "tmp/pids/server.pid")
  port = Server.free_port
  command = rails(folder, "-p", port)
  assert_match(/<h1>Notes/, command.answer(port, "/notes").body)
  assert command.server?
  assert_equal command.pid, File.read(pid_file).to_i
  command.says(/=> Booting Hyperion\n=> Rails 7.2.*development http:\/\/localhost:#{port}/)
  command.says(%r{Started GET "/notes"})
  assert_equal 1, command.log.scan(%r{Started GET "/notes"}).size

  second = rails(folder, "-p", Server.free_port)
  assert_equal 1, second.wait.exitstatus
  assert_match(/A server is already running \(pid: #{command.pid}/, second.log)
  assert_equal 200, command.answer(port).status

  assert_equal 0, command.interrupt.exitstatus, command.log
  refute File.exist?(pid_file)
end

case_with("rails", "rails server: production, an address, a config file, a pid file that was left behind", seconds: 60) do
  folder = rails_site
  pid_file = File.join(folder, "tmp/pids/server.pid")
  port = Server.free_port
  first = rails(folder, "-p", port, "-b", "127.0.0.1", "-e", "production", "-P", pid_file)
  assert_equal 200, first.answer(port).status
  first.says(%r{listening on tcp://127\.0\.0\.1:#{port}$.*environment=production}m)
  refute_match(/Started GET/, first.log)
  assert_match(/Started GET "\/"/, File.read(File.join(folder, "log/production.log")))
  first.kill
  assert_equal first.pid, File.read(pid_file).to_i

  other = Server.free_port
  File.write(File.join(folder, "config/hyperion.rb"), "bind 'tcp://127.0.0.1:#{other}'\nworkers 1", mode: "a")
  again = rails(folder, "-e", "production", "-P", pid_file)
  assert_equal 200, again.answer(other).status
  assert_equal again.pid, File.read(pid_file).to_i
  again.says(/workers=1/)
  assert_equal 0, again.interrupt.exitstatus
end

case_with("rails", "rails server: in the background", seconds: 60) do
  folder = rails_site
  pid_file = File.join(folder, "tmp/pids/server.pid")
  port = Server.free_port
  command = rails(folder, "-d", "-p", port, "-b", "127.0.0.1")
  assert_equal 0, command.wait.exitstatus, command.log
  pid = eventually("a pid") { File.exist?(pid_file) && File.read(pid_file).to_i.then { |n| n if n.positive? } }
  Tap.after { Process.kill(:KILL, -pid) rescue nil } # rubocop:disable Style/RescueModifier
  refute_match(/\A#{command.pid}\z/, pid.to_s)
  eventually("its port", seconds: 15) { !Server.unused?(port) }
  assert_equal 200, Curl.new(port).get("/notes").status
  Process.kill(:TERM, pid)
  eventually("its end") { !File.exist?(pid_file) }
end
