# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Runs glue_driver in a folder of its own and keeps what came out.
#
#   glue = Glue.new("config.ru" => "run ...", "hyperion.rb" => "workers 4")
#   glue.drive("boot", "config.ru", "config", "hyperion.rb")
#   glue.out, glue.err, glue.status

require "fileutils"
require "tmpdir"
require_relative "../harness/tap"
require_relative "../apps/gems"

class Glue
  DRIVER = File.join(Server::BUILD, "selftests/ruby/glue_driver")
  HELLO = "run ->(env) { [200, {}, ['hello']] }\n"

  LSAN = { "LSAN_OPTIONS" => "print_suppressions=0" }.freeze

  attr_reader :folder, :out, :err, :status

  def initialize(files = {})
    @folder = File.realpath(Dir.mktmpdir("glue"))
    @outside = Dir.mktmpdir("glue-out")
    Tap.after { [@folder, @outside].each { |folder| FileUtils.remove_entry(folder) } }
    { "config.ru" => HELLO }.merge(files).each { |name, text| write(name, text) }
  end

  def write(name, text)
    path = File.join(folder, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.write(path, text)
    path
  end

  # Words of @before go in front of the driver: another command that runs it.
  def drive(*steps, env: {}, before: [])
    files = %w[out err].map { |name| File.join(@outside, name) }
    pid = Process.spawn(Gems.path.merge(LSAN).merge(env), *before, DRIVER, *steps.map(&:to_s),
                        in: File::NULL, out: files[0], err: files[1], chdir: folder, pgroup: true)
    Tap.after { stop(pid) }
    _, status = Process.wait2(pid)
    @out, @err = files.map { |file| File.read(file).gsub(/^==\d+==Running thread \d+ was not suspended.*\n/, "") }
    @status = status.exitstatus
    raise Tap::Failed, "the driver was killed: #{status.inspect}\n#{err[0, 4000]}" unless @status

    self
  end

  # Boots, then runs @code, which must not fail; what it printed.
  def ruby(code, env: {}, before: [])
    drive("boot", "config.ru", "ruby", code, env: env, before: before)
    raise Tap::Failed, "status #{status}\n#{err}" unless status.zero?

    out
  end

  # Lines that the driver itself wrote.
  def said
    out.lines(chomp: true).filter_map { |line| line.delete_prefix("> ") if line.start_with?("> ") }
  end

  private

  # Whatever a case that failed has left of the group.
  def stop(pid)
    Process.kill(:KILL, -pid)
    Process.wait(pid)
  rescue Errno::ESRCH, Errno::ECHILD
    nil
  end
end
