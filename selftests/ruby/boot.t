#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Ruby within the program is the Ruby that `ruby` is; the app is loaded as `rackup` would.

require_relative "glue"
require "etc"

def load_app(config_ru, environment = "production", *more, env: {}, **files)
  glue = Glue.new(files.transform_keys(&:to_s).merge("config.ru" => config_ru))
  glue.drive("boot", "config.ru", "load", "config.ru", environment, *more, env: env)
end

# Starts, fails to load, says the pattern.
def assert_not_loaded(pattern, config_ru, environment = "production", **how)
  glue = load_app(config_ru, environment, **how)
  assert_equal 1, glue.status, glue.out
  assert_match pattern, glue.err
  refute_match(/internal:hyperion/, glue.err)
  glue
end

NO_LOCALE = %w[LANG LC_ALL LC_CTYPE].to_h { |name| [name, nil] }

test "as from the command line: gems, hints, $0, ARGV, __FILE__", seconds: 30 do
  out = Glue.new.ruby('p [!!defined?(Gem), !!defined?(DidYouMean), !!defined?(ErrorHighlight), $0, ARGV, RUBY_ENGINE, $VERBOSE]')
  assert_equal %([true, true, true, "hyperion-bpf", [], "ruby", false]\n), out
end

test "the load path is that of the ruby beside it", seconds: 30 do
  expected = IO.popen([Gems.path, RbConfig.ruby, "-e", "puts $LOAD_PATH"], &:read)
  assert_equal expected, Glue.new.ruby("puts $LOAD_PATH")
end

test "text is UTF-8 where no locale is said, else what the locale says", seconds: 30 do
  code = 'p [Encoding.default_external, Encoding.default_internal, Encoding.find("locale")].map(&:to_s)'
  assert_equal %(["UTF-8", "", "UTF-8"]\n), Glue.new.ruby(code, env: NO_LOCALE)
  assert_equal %(["UTF-8", "", "UTF-8"]\n), Glue.new.ruby(code, env: NO_LOCALE.merge("LANG" => "C.UTF-8"))
  assert_equal %(["US-ASCII", "", "US-ASCII"]\n), Glue.new.ruby(code, env: NO_LOCALE.merge("LANG" => "C"))
end

test "RUBYOPT and RUBYLIB", seconds: 30 do
  glue = Glue.new("lib/early.rb" => "EARLY = 1")
  env = { "RUBYOPT" => "-rearly -w -EISO-8859-1", "RUBYLIB" => "lib" }
  assert_equal %([1, true, "ISO-8859-1"]\n), glue.ruby("p [EARLY, $VERBOSE, Encoding.default_external.to_s]", env: env)
end

test "a RUBYOPT that fails stops the boot", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "ruby", "puts 1", env: { "RUBYOPT" => "-rnosuch_thing" })
  assert_equal 1, glue.status
  assert_match(/cannot load such file -- nosuch_thing/, glue.err)
  assert_equal "", glue.out
end

test "stop signals do nothing here, and kill a command that the app runs", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "raise", "ruby", 'system("kill -TERM $$; sleep 5"); p $?.termsig', "raise", "end", "0")
  assert_equal 0, glue.status, glue.err
  assert_equal ["survived 8 signals", "survived 8 signals"], glue.said
  assert_include glue.out.lines(chomp: true), "15"
end

test "VALUEs of callers above glue_boot survive the GC", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "hold", "ruby", "GC.stress = true; 100.times { 'x' * 50 }; GC.stress = false; GC.compact", "held")
  assert_equal 0, glue.status, glue.err
  assert_equal ["held: kept on the stack"], glue.said
end

test "a rackup file, under Rack 3", seconds: 30 do
  glue = load_app("require_relative 'part'\nuse Rack::Runtime\nrun App", "production", "ruby", <<~RUBY, "part.rb" => Glue::HELLO.sub("run", "App ="))
    p [Rack.release[0], ENV["RACK_ENV"], APP.call({})[2], APP.class]
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_include glue.out, %(["3", "production", ["hello"], Rack::Runtime]\n)
end

test "development checks the app by Rack::Lint", seconds: 30 do
  glue = load_app(Glue::HELLO, "development", "ruby", "p APP.class, ENV['RACK_ENV']")
  assert_include glue.out, %(Rack::Lint\n"development"\n)
end

test "a Gemfile beside the rackup file decides: Rack 2", seconds: 30 do
  glue = Glue.new("Gemfile" => File.read(File.join(__dir__, "../apps/rack2/Gemfile")))
  env = { "BUNDLE_PATH" => Gems::PATH, "GEM_PATH" => nil }
  glue.drive("boot", "config.ru", "load", "config.ru", "production", "ruby", <<~RUBY, env: env)
    p [Rack.release.to_f, ENV["BUNDLE_GEMFILE"] == File.join(Dir.pwd, "Gemfile"), APP.call({})[2]]
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_include glue.out, %([2.2, true, ["hello"]]\n)
end

test "BUNDLE_GEMFILE goes before the Gemfile beside", seconds: 30 do
  glue = Glue.new("Gemfile" => "raise 'the wrong one'")
  glue.drive("boot", "config.ru", "load", "config.ru", "production", "ruby", "p Rack.release.to_i", env: Gems.bundle("rack2"))
  assert_equal 0, glue.status, glue.err
  assert_include glue.out, "2\n"
end

test "under bundle exec", seconds: 30 do
  needs("tool", "bundle")
  glue = Glue.new
  glue.drive("boot", "config.ru", "load", "config.ru", "production", "ruby", "p Rack.release.to_i, ENV['RUBYOPT']",
             env: Gems.bundle("rack2"), before: %w[bundle exec])
  assert_equal 0, glue.status, glue.err
  assert_match(%r{^2\n".*-r.*bundler/setup"$}, glue.out)
end

test "a Gemfile with what is not installed stops the boot in Bundler's words", seconds: 30 do
  glue = Glue.new("Gemfile" => "gem 'nosuch_thing'").drive("boot", "config.ru", "ruby", "puts 1")
  assert_equal 1, glue.status
  assert_match(/nosuch_thing/, glue.err)
  refute_match(/^1$/, glue.out)
end

test "require 'hyperion' is this program's, also when the gem is in the Gemfile", seconds: 30 do
  glue = Glue.new("gem/hyperion-rb.gemspec" => <<~SPEC, "gem/lib/hyperion.rb" => "raise 'the gem'", "gem/lib/hyperion-rb.rb" => "raise 'the gem'", "Gemfile" => <<~GEMS)
    Gem::Specification.new do |s|
      s.name = "hyperion-rb"
      s.version = "2.10.0"
      s.summary = s.author = "test"
      s.files = Dir["lib/*"]
    end
  SPEC
    gem "hyperion-rb", path: "gem"
  GEMS
  glue.drive("boot", "config.ru", "ruby", 'p require("hyperion"), Bundler.require.size, require("hyperion"), Hyperion.class', env: { "GEM_PATH" => nil })
  assert_equal 0, glue.status, glue.err
  assert_equal "false\n1\nfalse\nModule\n", glue.out
  assert_equal 1, glue.err.lines.size, glue.err
  assert_match(/the gem hyperion-rb is not used: .*gem=hyperion-rb-2\.10\.0/, glue.err)
end

test "require 'hyperion' does nothing even where a file of that name is found first", seconds: 30 do
  glue = Glue.new("lib/hyperion.rb" => "raise 'not this one'")
  assert_equal "false\n", glue.ruby("p require('hyperion')", env: { "RUBYLIB" => "lib" })
end

test "errors of the app come in Ruby's own words, with file and line", seconds: 30 do
  assert_not_loaded(/config\.ru:2:.*: cannot do this \(RuntimeError\)/, "\nraise 'cannot do this'\n")
  assert_not_loaded(/config\.ru:3:.*undefined method `foo' for nil:NilClass.*\(NoMethodError\)/m, "run Proc\n\nnil.foo\n")
  assert_not_loaded(/config\.ru:[23]: syntax error/, "run(\n[}\n")
  assert_not_loaded(/cannot load such file -- nosuch_thing \(LoadError\)\n(.*\n)*\tfrom .*config\.ru:1:/, "require 'nosuch_thing'\nrun Proc")
  assert_not_loaded(/part\.rb:1:.*: inner \(ArgumentError\)\n(.*\n)*\tfrom .*config\.ru:1:/, "require_relative 'part'", "part.rb" => "raise ArgumentError, 'inner'")
  assert_not_loaded(/first \(RuntimeError\)(.*\n)*.*second \(KeyError\)|second \(KeyError\)(.*\n)*.*first \(RuntimeError\)/,
                    "begin; raise KeyError, 'second'; rescue KeyError; raise 'first'; end")
end

test "an app that ends instead of starting", seconds: 30 do
  assert_not_loaded(/exit\(0\) was called at .*config\.ru:2/, "\nexit\n")
  assert_not_loaded(/sorry\n.*exit\(1\) was called at .*config\.ru:1/, "abort 'sorry'\n")
  assert_not_loaded(/uncaught throw :x \(UncaughtThrowError\)/, "throw :x")
  assert_not_loaded(/stack level too deep \(SystemStackError\)/, "def a = a\na")
end

test "an app that is none", seconds: 30 do
  assert_not_loaded(/missing run or map statement/, "use Rack::Runtime")
  assert_not_loaded(/the app has no method call: 5/, "run 5")
  assert_not_loaded(/No such file or directory.*config\.ru/, Glue::HELLO, env: { "RUBYOPT" => "-rgone" , "RUBYLIB" => "." },
                                                                          "gone.rb" => "File.delete('config.ru')")
end

test "no rack says what to do", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "load", "config.ru", "production",
                        env: { "GEM_PATH" => "/nowhere", "GEM_HOME" => "/nowhere", "RUBYOPT" => "--disable-gems" })
  assert_equal 1, glue.status
  assert_match(/the gem rack is missing: install it \(gem install rack\)/, glue.err)

  glue = Glue.new("Gemfile" => "").drive("boot", "config.ru", "load", "config.ru", "production", env: { "GEM_PATH" => nil })
  assert_equal 1, glue.status
  assert_match(%r{the gem rack is missing: add it to /.*/Gemfile}, glue.err)
end

test "at_exit handlers run at the end, and have the last word", seconds: 30 do
  glue = load_app(Glue::HELLO, "production", "ruby", "at_exit { puts 'bye' }", "end", "3")
  assert_equal 3, glue.status, glue.err
  assert_match(/^bye$/, glue.out)
  glue = load_app(Glue::HELLO, "production", "ruby", "at_exit { exit 7 }", "end", "0")
  assert_equal 7, glue.status, glue.err
end

test "a Ruby main thread that waits lets the others run", seconds: 30 do
  glue = Glue.new.drive("boot", "config.ru", "ruby", <<~RUBY, "wait", "raise", "end", "0")
    $r, w = IO.pipe
    ENV["WAIT"] = $r.fileno.to_s
    main = Thread.current
    Thread.new { sleep 0.05; main.wakeup; puts "ran"; $stdout.flush; main.raise(RuntimeError, "interrupts nobody"); sleep 0.05; w << "x" }
  RUBY
  assert_equal 0, glue.status, glue.err
  assert_equal ["ran", "> readable", "> survived 8 signals"], glue.out.lines(chomp: true)
  assert_match(/interrupts nobody \(RuntimeError\)/, glue.err)
end

test "config file, app, hooks and end under GC.stress", seconds: 60 do
  glue = Glue.new("hyperion.rb" => "workers 3\nh2 { max_frame_size 1 }\nbefore_fork { puts 'before' }\non_worker_boot { |i| puts i }\non_worker_shutdown { raise 'late' }")
  glue.drive("boot", "config.ru", "ruby", "require 'rack'; Rack::Builder; Rack::Lint; GC.stress = true", "config", "hyperion.rb",
             "load", "config.ru", "development", "before_fork", "worker_boot", "7", "worker_shutdown", "7", "end", "0")
  assert_equal 1, glue.status
  assert_equal ["set workers=3", "loaded"], glue.said
  assert_match(/^before\n7\n/, glue.out)
  assert_match(/h2 is not in this version yet/, glue.err)
  assert_match(/late \(RuntimeError\)/, glue.err)
end
