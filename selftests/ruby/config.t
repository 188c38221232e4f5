#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The config file: what it may say, and what it is told when it may not.

require_relative "glue"

def config(text)
  Glue.new("hyperion.rb" => text).drive("boot", "config.ru", "config", "hyperion.rb")
end

# The settings that come out, in order.
def assert_settings(expected, text)
  glue = config(text)
  assert_equal 0, glue.status, glue.err
  assert_equal expected, glue.said.map { |line| line.delete_prefix("set ") }
  assert_equal "", glue.err
end

# Status 2 and the first line of what is on stderr.
def assert_refused(pattern, text, line: 1)
  glue = config(text)
  assert_equal 2, glue.status, glue.out
  assert_match pattern, glue.err.lines.first
  assert_match(/\A#{Regexp.escape(glue.folder)}\/hyperion\.rb:#{line}:.*\(ArgumentError\)$/, glue.err.lines.first)
  refute_match(/internal:hyperion/, glue.err)
end

# Goes on, with one such line.
def assert_warned(pattern, text)
  glue = config(text)
  assert_equal 0, glue.status, glue.err
  assert_equal 1, glue.err.lines.size, glue.err
  assert_match pattern, glue.err
end

test "rules for the names of routes" do
  assert_settings([], "metrics do\n  path_templater(%r{a} => 'b')\nend\n")
  assert_settings([], "metrics { |m| m.path_templater ->(path) { path } }\n")
  assert_refused(/path_templater \{"a"=>"b"\}: path_templater: a rule is a Regexp and a String, not "a"/, "metrics { path_templater('a' => 'b') }")
  assert_refused(/path_templater 5: rules \{/, "metrics { path_templater 5 }")
  assert_warned(/enabled in `metrics do` has no effect here/, "metrics { enabled true }")
end

test "trees of files" do
  assert_settings(
    ["static=/assets=/usr/lib", "static-immutable=/packs=/usr/bin", "static=/=/", "static_recheck=2"],
    "static '/assets', from: '/usr/lib'\nstatic '/packs', from: '/usr/bin', immutable: true\n" \
    "static '/', from: '/', immutable: false\nstatic_recheck 2\n")
  assert_refused(/static "\/a": needs a folder, from: DIR/, "static '/a'")
  assert_refused(%r{static "/a=/not/there": PREFIX=DIR}, "static '/a', from: '/not/there'")
  assert_refused(/static: unknown frm: allowed are from, immutable and internal/, "static '/a', frm: 'b'")
  assert_refused(%r{static "/a": immutable or internal, not both}, "static '/a', from: '/', immutable: true, internal: true")
  assert_refused(/static takes one value, not 0/, "static from: 'b'")
end

test "folders to read before serving, files that the app may name", seconds: 30 do
  assert_settings(
    %w[preload-static=/a preload-static=/b preload-static-mutable=/c no-preload-static=true static-internal=/i=/usr
       sendfile-root=/usr sendfile-root=/usr/lib],
    "preload_static '/a', immutable: true\npreload_static '/b'\npreload_static '/c', immutable: false\n" \
    "auto_preload_static_disabled true\nstatic '/i', from: '/usr', internal: true\nsendfile_root ['/usr', '/usr/lib']\n")
  assert_refused(/preload_static: unknown to: allowed is immutable/, "preload_static '/a', to: 1")
  assert_refused(/preload_static takes one value, not 0/, "preload_static")
  assert_refused(%r{sendfile_root "not/absolute": the absolute path of a folder}, "sendfile_root 'not/absolute'")
  assert_refused(%r{sendfile_root "/not/there": the absolute path of a folder}, "sendfile_root '/not/there'")
end

test "every setting reaches the server", seconds: 30 do
  assert_settings(
    %w[workers=3 threads=7 environment=production rackup=other.ru preload=false pidfile=/run/x.pid io_uring=off
       max_header_bytes=32768 max_body_bytes=1048576 max_pending=100 max_connections=1000 max_request_read_seconds=9
       read_timeout=8 idle_keepalive=7 graceful_timeout=6 max_in_flight_per_conn=auto max_request_seconds=30 bind=tcp://127.0.0.1:80 bind=tcp://[::1]:81
       log_level=warn log_format=json log_requests=false log_file=/var/log/a error_log=/var/log/e request_id=false rebalance=false], <<~RUBY
         workers 3
         threads 7
         environment :production
         rackup "other.ru"
         preload false
         pidfile "/run/x.pid"
         io_uring :off
         max_header_bytes 32 * 1024
         max_body_bytes 1024 * 1024
         max_pending 100
         max_connections 1000
         max_request_read_seconds 9
         read_timeout 8
         idle_keepalive 7.0
         graceful_timeout "6"
         max_in_flight_per_conn :auto
         max_request_seconds 30
         bind "tcp://127.0.0.1:80"
         bind "tcp://[::1]:81"
         logging do
           level :warn
           format :json
           requests false
           file "/var/log/a"
           error_file "/var/log/e"
           request_id false
         end
         rebalance false
       RUBY
  )
end

test "a block takes an argument as well", seconds: 30 do
  assert_settings(%w[log_format=text log_level=debug], "logging { |l| l.format :text; l.level 'debug' }")
end

test "several addresses in one line", seconds: 30 do
  assert_settings(%w[bind=tcp://127.0.0.1:80 bind=tcp://127.0.0.1:81], 'bind "tcp://127.0.0.1:80", "tcp://127.0.0.1:81"')
  assert_settings(%w[bind=tcp://127.0.0.1:80 bind=tcp://127.0.0.1:81], 'bind %w[tcp://127.0.0.1:80 tcp://127.0.0.1:81]')
end

test "host, port and thread_count as the gem has them", seconds: 30 do
  assert_settings(%w[threads=8 bind=tcp://127.0.0.1:3000], "port 3000\nthread_count 8\nhost '127.0.0.1'")
  assert_settings(%w[bind=tcp://0.0.0.0:3000], "port 3000")
  assert_settings(%w[bind=tcp://[::1]:9292], "bind '::1'")
end

test "it is Ruby", seconds: 30 do
  assert_settings(%w[workers=2 threads=5], <<~RUBY)
    def double(n) = n * 2
    count = Integer(ENV.fetch("NONE", "1"))
    workers double(count)
    threads(if File.exist?(__FILE__) && __dir__ == Dir.pwd then 5 else 6 end)
  RUBY
end

test "an unknown setting names its nearest neighbour", seconds: 30 do
  assert_refused(/unknown setting wrokers: the nearest is workers/, "threads 1\nwrokers 4", line: 2)
  assert_refused(/unknown setting max_body_size: the nearest is max_body_bytes/, "max_body_size 4")
  assert_refused(/unknown setting idle_keep_alive: the nearest is idle_keepalive/, "idle_keep_alive 4")
  assert_refused(/unknown setting log_level: the nearest is level in `logging do`/, "log_level :info")
  assert_refused(/unknown setting worker_boot: the nearest is on_worker_boot/, "worker_boot { }")
end

test "an unknown setting in a block, both ways", seconds: 30 do
  assert_refused(/unknown setting levle: the nearest is /, "logging do\n  levle :info\nend", line: 2)
  assert_refused(/unknown setting formt: the nearest is /, "logging do |l|\n  l.formt :json\nend", line: 2)
  assert_refused(/unknown setting max_streams: the nearest is /, "h2 { max_streams 3 }")
  assert_refused(/unknown setting workers=: the nearest is workers/, "self.workers = 3")
end

test "a bad value names the setting, the value and what is allowed", seconds: 30 do
  assert_refused(/workers "many": a number from 1 to 256/, "\nworkers 'many'", line: 2)
  assert_refused(/workers 0: a number/, "workers 0")
  assert_refused(/workers nil: a number/, "workers nil")
  assert_refused(/threads -1: a number/, "threads(-1)")
  assert_refused(/read_timeout 0\.5: seconds/, "read_timeout 0.5")
  assert_refused(/threads \[1, 5\]: a number, a text/, "threads [1, 5]")
  assert_refused(/threads takes one value, not 2/, "threads 1, 5")
  assert_refused(/threads takes one value, not 0/, "threads")
  assert_refused(/level :loud: debug, info, warn or error/, "logging do\n\n  level :loud\nend", line: 3)
  assert_refused(/preload "perhaps": true or false/, "preload 'perhaps'")
  assert_refused(/bind "gopher:\/\/x": \w/, "bind 'gopher://x'")
  assert_refused(/bind "tcp:\/\/0\.0\.0\.0:99999": \w/, "\nport 99999", line: 2)
  assert_refused(/pidfile "a\\u0000b": a text without NUL/, 'pidfile "a\0b"')
end

test "a block where none belongs, and none where one does", seconds: 30 do
  assert_refused(/logging takes a block/, "logging :info")
  assert_refused(/before_fork takes a block/, "before_fork")
  assert_refused(/on_worker_boot takes a block/, "on_worker_boot :hello")
end

test "a variable instead of a setting is noticed", seconds: 30 do
  assert_refused(/workers = \.\.\. sets nothing: write workers without the equals sign/, "threads 3\nworkers = 4", line: 2)
  assert_settings(%w[workers=4], "workers = 4\nworkers(workers)")
end

test "user and group belong on the command line", seconds: 30 do
  assert_refused(/user belongs on the command line, --user/, "user 'www'")
  assert_refused(/group belongs on the command line, --group/, "group 'www'")
end

test "what would be served in clear is refused", seconds: 30 do
  assert_refused(/tls: this version has no TLS yet/, "tls do\n  cert 'x'\nend")
  assert_refused(/tls_cert: this version has no TLS yet/, "tls_cert 'x'")
end

test "what is not there yet is said once", seconds: 30 do
  assert_warned(/config: h2 is not in this version yet, and ignored at=.*hyperion\.rb:3/, <<~RUBY)

    h2 do
      max_concurrent_streams 100
      max_total_streams :unbounded
    end
    h2 { |h| h.max_frame_size 1 << 20 }
  RUBY
  assert_warned(/async_io is not in this version yet/, "async_io true")
  assert_warned(/yjit is not in this version yet/, "yjit true\nyjit false")
end

test "what means nothing here is said once", seconds: 30 do
  assert_warned(/accept_fibers_per_worker has no effect here: /, "accept_fibers_per_worker 4\naccept_fibers_per_worker 4")
  assert_warned(/fiber_local_shim has no effect here: /, "fiber_local_shim true")
end

test "Ruby's own errors, with the line", seconds: 30 do
  glue = config("workers 1\nraise 'no way'\n")
  assert_equal 2, glue.status
  assert_match(/hyperion\.rb:2:.*no way \(RuntimeError\)/, glue.err.lines.first)

  glue = config("workers 1\nworkers 2 +\n")
  assert_equal 2, glue.status
  assert_match(/hyperion\.rb:[23]: syntax error/, glue.err)

  glue = config("require 'nosuch_thing'\n")
  assert_equal 2, glue.status
  assert_match(/cannot load such file -- nosuch_thing \(LoadError\)/, glue.err)
  assert_match(/from .*hyperion\.rb:1:/, glue.err)

  glue = config("\nexit 5\n")
  assert_equal 2, glue.status
  assert_match(/exit\(5\) was called at .*hyperion\.rb:2/, glue.err)
end

test "no such file", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "config", "nosuch.rb")
  assert_equal 2, glue.status
  assert_match(/cannot read the config file .*nosuch\.rb: No such file or directory/, glue.err)
end

test "hooks run in order, with the index, and may use what the file defined", seconds: 30 do
  glue = Glue.new("hyperion.rb" => <<~RUBY)
    def tell(what) = puts(what)
    before_fork { tell "before 1" }
    before_fork { tell "before 2" }
    on_worker_boot { |index| tell "boot \#{index}" }
    on_worker_boot { tell "boot too" }
    on_worker_shutdown { |index| tell "shutdown \#{index}" }
  RUBY
  glue.drive(*%w[boot config.ru config hyperion.rb before_fork worker_boot 4 worker_shutdown 4 end 0])
  assert_equal 0, glue.status, glue.err
  assert_equal ["before 1", "before 2", "boot 4", "boot too", "shutdown 4"], glue.out.lines(chomp: true)
end

test "a hook that fails stops the boot, and says where", seconds: 30 do
  glue = Glue.new("hyperion.rb" => "\non_worker_boot { raise ArgumentError, 'not today' }\n")
  glue.drive(*%w[boot config.ru config hyperion.rb worker_boot 0])
  assert_equal 1, glue.status
  assert_match(/hyperion\.rb:2:.*not today \(ArgumentError\)/, glue.err.lines.first)
end

test "every shutdown hook runs, also after one that fails", seconds: 30 do
  glue = Glue.new("hyperion.rb" => <<~RUBY)
    on_worker_shutdown { raise "one" }
    on_worker_shutdown { raise "two" }
    on_worker_shutdown { puts "three" }
  RUBY
  glue.drive(*%w[boot config.ru config hyperion.rb worker_shutdown 0])
  assert_equal 1, glue.status
  assert_equal ["three"], glue.out.lines(chomp: true)
  assert_match(/one \(RuntimeError\)/, glue.err)
  assert_match(/two \(RuntimeError\)/, glue.err)
end

test "settings are read once", seconds: 30 do
  glue = Glue.new("hyperion.rb" => "before_fork { workers 4 }")
  glue.drive(*%w[boot config.ru config hyperion.rb before_fork])
  assert_equal 1, glue.status
  assert_match(/settings are read only once/, glue.err)
end
