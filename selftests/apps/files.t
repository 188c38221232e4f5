#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# Files that an app names: bodies with to_path, X-Sendfile, X-Accel-Redirect, Hyperion::Http::PageCache,
# what is preloaded, and what a Rails app leaves to the server.

require_relative "../procs/app"

# GET /PATH?... answers with the file PATH of the folder, as the query says.
NAMES = <<~'RUBY'
  class FileBody
    def initialize(path) = (@path = path)
    def to_path = @path
    def each = yield("by each")
  end
  NAMING = lambda do |env|
    query = env["QUERY_STRING"].split("&").to_h { |pair| pair.split("=", 2) }
    status = query.delete("status").to_i
    extra = query.to_h { |name, value| [name, value.gsub("%20", " ")] }
    status = 200 if status.zero?
    [status, extra, extra.key?("x-sendfile") || extra.key?("x-accel-redirect") ? ["not this"] : FileBody.new(File.join(Dir.pwd, env["PATH_INFO"]))]
  end
RUBY
APP = NAMES + <<~'RUBY'
  run ->(env) { env["REQUEST_METHOD"] == "POST" && env["PATH_INFO"] == "/" ? [200, {}, [eval(env["rack.input"].read).to_s]] : NAMING.(env) }
RUBY
OLD = Time.now - 3600

# Files as they are after a while: nobody has just written them.
def old_files(folder, files)
  files.each do |name, bytes|
    path = File.join(folder, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.binwrite(path, bytes)
  end
end

# A file's change time is the kernel's own: it has to pass.
def settle
  sleep 3.1
end

def serve_files(*args, files: {}, config: nil, app: APP, **how)
  folder = app_folder({ "config.ru" => app }.merge(config ? { "h.rb" => config } : {}))
  old_files(folder, files)
  args += ["-C", "h.rb"] if config
  yield folder if block_given?
  serve("-w", 1, *args, folder: folder, **how)
end

def fds(server, name)
  Procs.fds(server.worker).values.count { |target| target.end_with?("/#{name}") }
end

on_threads "a body with to_path: the file by the cache, one version of it, the app's head", seconds: 60 do |threads|
  large = Random.new(2).bytes(300_000)
  server = serve_files("-t", threads, files: { "small.txt" => "small\n", "large.bin" => large, "empty" => "" })
  settle
  client = server.client
  assert_equal 0, fds(server, "large.bin")
  2.times do
    answer = client.get("/small.txt?content-type=text/x-mine&etag=mine&set-cookie=a")
    assert_equal [200, "small\n", "text/x-mine", "mine", "a", "6"],
                 [answer.status, answer.body, *answer.headers.values_at("content-type", "etag", "set-cookie", "content-length")]
    # Ranges and conditions stay the app's.
    assert_equal %w[accept-ranges last-modified cache-control], %w[accept-ranges last-modified cache-control] - answer.headers.keys
    assert_equal 200, client.get("/small.txt", "Range: bytes=0-1").status
    assert_equal large, client.get("/large.bin").body
  end
  assert_equal 1, fds(server, "large.bin"), "it stays open"
  assert_equal "", client.get("/empty").body
  head = client.write("HEAD /large.bin HTTP/1.1\r\nHost: test\r\n\r\n").answer(head: true)
  assert_equal "300000", head.headers["content-length"]
  assert_equal 404, client.get("/small.txt?status=404").status
  # Written, renamed into place, or gone: the next answer knows.
  File.write(File.join(server.folder, "small.txt"), "changed\n")
  assert_equal "changed\n", client.get("/small.txt").body
  File.write(File.join(server.folder, "new"), "renamed\n")
  File.rename(File.join(server.folder, "new"), File.join(server.folder, "small.txt"))
  assert_equal "renamed\n", client.get("/small.txt").body
  File.delete(File.join(server.folder, "small.txt"))
  assert_equal "by each", client.get("/small.txt").then { |a| a.body.delete_prefix("7\r\n").delete_suffix("\r\n0\r\n\r\n") } if threads.zero?
  assert_equal "by each", server.client.write("GET /small.txt HTTP/1.0\r\n\r\n").rest.split("\r\n\r\n", 2).last
  File.symlink("large.bin", File.join(server.folder, "link"))
  assert_equal large, server.client.get("/link").body
end

on_threads "a file that is replaced all the time: each answer is one version, of the moment it was asked for", seconds: 60 do |threads|
  server = serve_files("-t", threads, files: { "a" => "0" * 5000 })
  settle
  client = server.client
  path = File.join(server.folder, "a")
  200.times do |i|
    bytes = (i % 10).to_s * (4000 + i)
    if i % 40 == 39
      File.binwrite("#{path}.new", bytes)
      File.rename("#{path}.new", path)
    else
      File.binwrite(path, bytes)
    end
    assert_equal bytes, client.get("/a").body
  end
end

on_threads "X-Sendfile: below a root, with the app's lines, conditions and ranges", seconds: 60 do |threads|
  files = { "private/report.txt" => "0123456789", "private/.hidden" => "hidden", "private/a b.txt" => "blank",
            "private/sub/x.js" => "x", "private/x.js.gz" => "gz", "outside.txt" => "out" }
  server = nil
  server = serve_files("-t", threads, files: files, config: "sendfile_root File.expand_path('private')\n") do |folder|
    File.symlink("../outside.txt", File.join(folder, "private/link"))
  end
  root = File.join(server.folder, "private")
  client = server.client
  get = lambda do |name, *headers, more: "", verb: "GET"|
    client.write("#{verb} /x?x-sendfile=#{root}/#{name}&x-mine=1#{more} HTTP/1.1\r\nHost: test\r\n#{headers.map { |h| "#{h}\r\n" }.join}\r\n")
    client.answer(head: verb == "HEAD" || headers.any? { |h| h.start_with?("If-None-Match") })
  end
  answer = get.("report.txt", more: "&content-length=0&content-disposition=attachment")
  assert_equal [200, "0123456789", "10", "1", "attachment", "bytes", "text/plain; charset=utf-8"],
               [answer.status, answer.body, *answer.headers.values_at("content-length", "x-mine", "content-disposition", "accept-ranges", "content-type")]
  refute answer.headers.key?("x-sendfile")
  etag = answer.headers["etag"]
  assert_equal "text/x", get.("report.txt", more: "&content-type=text/x").headers["content-type"]
  assert_equal "hidden", get.(".hidden").body
  assert_equal "blank", get.("a%20b.txt").body
  assert_equal "gz", get.("x.js.gz").body
  head = get.("report.txt", verb: "HEAD")
  assert_equal [200, "10"], [head.status, head.headers["content-length"]]
  part = get.("report.txt", "Range: bytes=2-4")
  assert_equal [206, "234", "bytes 2-4/10", "1"], [part.status, part.body, part.headers["content-range"], part.headers["x-mine"]]
  assert_equal 416, get.("report.txt", "Range: bytes=10-").status
  assert_equal [206, "3"], get.("report.txt", "Range: bytes=3-3", "If-Range: #{etag}").then { |a| [a.status, a.body] }
  assert_equal 200, get.("report.txt", "Range: bytes=3-3", 'If-Range: "other"').status
  many = get.("report.txt", "Range: bytes=0-0,9-9", more: "&content-type=text/x")
  assert_match(/\Amultipart\/byteranges; boundary=/, many.headers["content-type"])
  assert_equal 2, many.body.scan("content-type: text/x\r\n").size
  not_modified = get.("report.txt", "If-None-Match: #{etag}", more: "&content-type=text/x")
  assert_equal [304, nil, "1"], [not_modified.status, *not_modified.headers.values_at("content-type", "x-mine")]
  assert_equal 412, get.("report.txt", 'If-Match: "other"').status
  # Another status is the app's word: whole, and no conditions.
  assert_equal [404, "0123456789"], get.("report.txt", "Range: bytes=2-4", more: "&status=404").then { |a| [a.status, a.body] }
  assert_equal [200, "0123456789"], get.("report.txt", more: "&status=206").then { |a| [a.status, a.body] }
  assert_equal 204, client.write("GET /x?x-sendfile=#{root}/report.txt&status=204 HTTP/1.1\r\nHost: test\r\n\r\n").answer(head: true).status
  posted = client.write("POST /x?x-sendfile=#{root}/report.txt HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\nContent-Length: 2\r\n\r\nab").answer
  assert_equal [200, "0123456789"], [posted.status, posted.body]
  # Nothing there, and nothing that leads out.
  %w[none sub link].each { |name| assert_equal 404, get.(name).status, name }
  refute_match(/X-Sendfile/, server.log)
  %w[../outside.txt sub/../../outside.txt sub/].each { |name| assert_equal 500, get.(name).status, name }
  assert_match(/error: http: X-Sendfile: no path of a file path=#{Regexp.escape(root)}\/\.\.\/outside\.txt/, server.log)
  ["/etc/passwd", "#{root}x/report.txt", "report.txt", root, "", "#{"/a" * 3000}"].each do |path|
    assert_equal 500, client.get("/x?x-sendfile=#{path}").status, path[0, 20]
  end
  # The second within a second is counted, not written.
  assert_match(/X-Sendfile: not below a folder that sendfile_root names path=\/etc\/passwd/, server.log)
  assert_equal "0123456789", get.("report.txt").body
end

on_threads "X-Accel-Redirect: a tree, internal or not", seconds: 40 do |threads|
  files = { "store/a.bin" => "0123456789", "store/sub/index.html" => "index", "open/a.js" => "plain" * 400, "open/a.js.gz" => "gz" }
  server = serve_files("-t", threads, "--constant", "/constant=c", files: files,
                                      config: "static '/store', from: 'store', internal: true\nstatic '/open', from: 'open', immutable: true\n")
  client = server.client
  ["/store/a.bin", "/store/", "/store", "/store/none", "/store/%61.bin"].each { |path| assert_equal 404, client.get(path).status, path }
  assert_equal 404, client.write("POST /store/a.bin HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx").answer.status
  assert_equal 200, client.get("/open/a.js").status
  get = ->(path, *headers) { client.get("/x?x-accel-redirect=#{path}&x-mine=1", *headers) }
  answer = get.("/store/a.bin")
  assert_equal [200, "0123456789", "1", "application/octet-stream"], [answer.status, answer.body, *answer.headers.values_at("x-mine", "content-type")]
  refute answer.headers.key?("x-accel-redirect")
  assert_equal "0123456789", get.("/store/%61.bin?query").body
  assert_equal [206, "89"], get.("/store/a.bin", "Range: bytes=-2").then { |a| [a.status, a.body] }
  assert_equal "index", get.("/store/sub/").body
  packed = get.("/open/a.js", "Accept-Encoding: gzip")
  assert_equal ["gz", "gzip", "accept-encoding"], [packed.body, *packed.headers.values_at("content-encoding", "vary")]
  assert_match(/immutable/, packed.headers["cache-control"])
  own = client.get("/x?x-accel-redirect=/open/a.js&cache-control=private")
  assert_equal "private", own.headers["cache-control"], "the app's word goes before the tree's"
  ["/store/none", "/store/../x", "/store/sub"].each { |path| assert_equal 404, get.(path).status, path }
  ["/constant", "/app", "store/a.bin", "http://other/store/a.bin"].each { |path| assert_equal 500, get.(path).status, path }
  assert_match(%r{error: http: X-Accel-Redirect: no tree of files answers this path path=/constant}, server.log)
end

test "X-Sendfile without a root is refused", seconds: 30 do
  server = serve_files(files: { "a" => "a" })
  assert_equal 500, server.client.get("/x?x-sendfile=#{server.folder}/a").status
  assert_match(/sendfile_root/, server.log)
end

PC = "Hyperion::Http::PageCache"

on_threads "PageCache: what it has, what has changed, what is never looked at again", seconds: 60 do |threads|
  files = { "lib/a.txt" => "aaa", "lib/sub/b.txt" => "bb", "lib/c.bin" => "c" * 100_000, "other" => "other" }
  server = serve_files("-t", threads, files: files) { |folder| File.symlink("a.txt", File.join(folder, "lib/link")) }
  settle
  dir = server.folder
  ask = ->(code) { server.eval("pc = #{PC}; (#{code}).inspect") }
  assert_equal "[0, :missing, 5.0, true]", ask.("[pc.size, pc.fetch('lib/a.txt'), pc.recheck_seconds, pc.available?]")
  assert_equal "[3, 3]", ask.("[pc.preload('lib'), pc.size]")
  assert_match(/info: static: preloaded dir=#{Regexp.escape(dir)}\/lib files=3 bytes=100005 ms=\d+\.\d$/, server.log)
  assert_equal "[:ok, :ok, :missing]", ask.("[pc.fetch('lib/a.txt'), pc.fetch('#{dir}/lib/c.bin'), pc.fetch('other')]")
  assert_equal "[5, :missing, :missing, :ok]", ask.("[pc.cache_file('other'), pc.cache_file('none'), pc.cache_file('lib'), pc.fetch('other')]")
  # Believed for five seconds; with 0 it is looked at each time.
  replace = ->(name, bytes) { File.binwrite("#{dir}/new", bytes); File.rename("#{dir}/new", "#{dir}/#{name}") }
  replace.("other", "second")
  assert_equal ":ok", ask.("pc.fetch('other')")
  assert_equal "[0.0, :stale, :ok]", ask.("pc.recheck_seconds = 0; [pc.recheck_seconds, pc.fetch('other'), pc.fetch('lib/sub/b.txt')]")
  assert_equal "[true, true, false]", ask.("[pc.mark_immutable('lib/a.txt'), pc.mark_immutable('lib/c.bin'), pc.mark_immutable('none')]")
  replace.("lib/a.txt", "new")
  assert_equal "[:ok, true, :stale]", ask.("[pc.fetch('lib/a.txt'), pc.mark_mutable('lib/a.txt'), pc.fetch('lib/a.txt')]")
  File.delete("#{dir}/lib/sub/b.txt")
  assert_equal ":missing", ask.("pc.fetch('lib/sub/b.txt')")
  assert_equal "[nil, 0, :missing]", ask.("[pc.clear, pc.size, pc.fetch('lib/a.txt')]")
  assert_equal '["recheck_seconds -1: seconds, from 0 to 86400", "recheck_seconds nil: seconds, from 0 to 86400"]',
               ask.("[-1, nil].map { |s| begin; pc.recheck_seconds = s; rescue ArgumentError => e; e.message; end }")
  assert_equal "0", ask.("pc.preload('not there')")
  assert_match(/warn: static: preload skipped: No such file or directory dir=\S+not there/, server.log)
end

on_threads "answers that the app makes are never in the cache", seconds: 40 do |threads|
  server = serve_files("-t", threads, app: NAMES + <<~'RUBY', files: { "f" => "file" })
    n = 0
    run lambda { |env|
      next [200, {}, [eval(env["rack.input"].read).to_s]] if env["REQUEST_METHOD"] == "POST"
      n += 1
      headers = { "content-type" => "text/plain", "n" => n.to_s }
      { "/cookie" => "set-cookie", "/control" => "cache-control", "/etag" => "etag", "/vary" => "vary", "/encoding" => "content-encoding" }
        .each { |path, name| headers[name] = "own#{n}" if env["PATH_INFO"] == path }
      [200, headers, env["QUERY_STRING"] == "file" ? FileBody.new(File.join(Dir.pwd, "f")) : ["#{n}"]]
    }
  RUBY
  settle
  client = server.client
  n = 0
  %w[/cookie /control /etag /vary /encoding /plain].product(["", "?file"]).each do |path, query|
    2.times do
      n += 1
      answer = client.get(path + query)
      assert_equal [n.to_s, query.empty? ? n.to_s : "file"], [answer.headers["n"], answer.body], "each was asked of the app"
      own = answer.headers.values_at("set-cookie", "cache-control", "etag", "vary", "content-encoding").compact
      assert_equal path == "/plain" ? [] : ["own#{n}"], own
    end
  end
  assert_equal "1", server.eval("#{PC}.size"), "the file, and of the app nothing"
end

test "preloaded before the fork: one line, and each worker has it", seconds: 60 do
  files = { "assets/a.js" => "a" * 1000, "assets/a.js.gz" => "gz", "assets/b.bin" => "b" * 70_000, "live/x" => "x",
            "assets/c.css" => "c" * 5000 }
  server = serve_files("-w", 2, "--preload-static", "assets", "--preload-static-mutable", "live", "--preload-static", "none",
                       files: files, config: "static '/assets', from: 'assets'\nstatic_recheck 0\n")
  assert_equal 1, server.log.scan(/info: static: preloaded dir=assets files=3 bytes=76000 ms=\d+\.\d$/).size
  assert_equal 1, server.log.scan(/info: static: preloaded dir=live files=1 bytes=1 ms=/).size
  assert_equal 1, server.log.scan(/warn: static: preload skipped: No such file or directory dir=none/).size
  sizes = Array.new(40) { server.eval("[Process.pid, #{PC}.size].inspect") }.uniq
  assert_equal 2, sizes.size
  sizes.each { |text| assert_match(/, 4\]\z/, text) }
  assert_equal "gz", server.client.get("/assets/a.js", "Accept-Encoding: gzip").body
  # Settled, what is immutable is not looked at, whatever static_recheck says.
  settle
  client = server.client
  assert_equal "b" * 70_000, client.get("/assets/b.bin").body
  client.get("/assets/a.js")
  # Read where nobody compresses, it is compressed all the same.
  eventually("a coding of c.css") { client.get("/assets/c.css", "Accept-Encoding: gzip").headers["content-encoding"] == "gzip" }
  %w[assets/a.js live/x].each { |name| File.write("#{server.folder}/new", "changed"); File.rename("#{server.folder}/new", "#{server.folder}/#{name}") }
  assert_equal "a" * 1000, client.get("/assets/a.js").body
  off = serve_files("--no-preload-static", "--preload-static", "assets", files: files)
  refute_match(/preload/, off.log)
  assert_equal "0", off.eval("#{PC}.size")
end

test "preloaded without an app, and no more than there is room for", seconds: 60 do
  folder = app_folder({})
  600.times { |i| File.write("#{folder}/#{i}", "x" * 70_000) }
  server = Server.start("-w", 1, "--static", "/f=#{folder}", "--preload-static", folder)
  eventually("the line") { server.log =~ /info: static: preloaded dir=#{folder} files=5\d\d bytes=\d+/ }
  eventually("the warning") { server.log =~ /warn: static: the cache is full: files are left out dir=#{folder} left_out=\d+/ }
  assert_equal "x" * 70_000, server.client.get("/f/599").body
end

RAILS = <<~'RUBY'
  module Rails
    Server = Struct.new(:enabled, :index_name, :headers)
    Assets = Struct.new(:prefix)
    Config = Struct.new(:public_file_server, :assets, :relative_url_root)
    Env = Struct.new(:name) { %w[development test production].each { |n| define_method("#{n}?") { name == n } } }
    App = Struct.new(:config)
    class << self
      attr_accessor :application
      def env = Env.new(ENV.fetch("RACK_ENV"))
      def public_path = File.join(__dir__, "public")
    end
  end
  Rails.application = Rails::App.new(Rails::Config.new(Rails::Server.new(ENV["FILES"] == "1", "index", { "Cache-Control" => "public, max-age=99" }), Rails::Assets.new("/assets"), nil))
RUBY
PUBLIC = { "public/404.html" => "lost", "public/index.html" => "home", "public/robots.txt" => "robots", "public/about.html" => "about",
           "public/assets/app-1.js" => "js", "public/packs/p.js" => "pack", "public/sub/index.html" => "sub", "public/.env" => "secret" }.freeze
RAILS_APP = "#{RAILS}run ->(env) { [200, { 'x-app' => '1' }, ['app ' + env['PATH_INFO']]] }\n"

test "Rails: public files in C when Rails would serve them, with its headers, the rest is the app's", seconds: 40 do
  server = serve_files("-t", 2, app: RAILS_APP, files: PUBLIC, env: { "FILES" => "1" })
  assert_match(/info: static: files of Rails are served without Ruby dir=#{server.folder}\/public/, server.log)
  assert_match(/info: static: preloaded dir=\S+\/public\/assets files=1 bytes=2/, server.log)
  assert_match(/info: static: preloaded dir=\S+\/public\/packs files=1 bytes=4/, server.log)
  client = server.client
  { "/robots.txt" => "robots", "/" => "home", "/assets/app-1.js" => "js", "/sub/" => "sub", "/404.html" => "lost" }.each do |path, body|
    answer = client.get(path)
    assert_equal [200, body, nil, "public, max-age=99"], [answer.status, answer.body, answer.headers["x-app"], answer.headers["cache-control"]], path
  end
  %w[/about /sub /none /assets/none /.env /%2e%2e/x].each { |path| assert_equal "1", client.get(path).headers["x-app"], path }
  post = client.write("POST /robots.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").answer
  assert_equal "app /robots.txt", post.body
end

test "Rails: nothing where Rails would not, or in development, or where a tree is at / already", seconds: 60 do
  [[[], { "FILES" => "0" }], [["-e", "development"], { "FILES" => "1" }], [["-e", "test"], { "FILES" => "1" }]].each do |args, env|
    server = serve_files(*args, app: RAILS_APP.sub("'x-app'", "'content-type' => 'text/plain', 'x-app'"), files: PUBLIC, env: env)
    refute_match(/static:/, server.log)
    assert_equal "app /robots.txt", server.client.get("/robots.txt").body
  end
  server = serve_files("--no-preload-static", app: RAILS_APP, files: PUBLIC, env: { "FILES" => "1" })
  refute_match(/preloaded/, server.log)
  assert_equal "robots", server.client.get("/robots.txt").body
  odd = serve_files("-e", "production", app: RAILS_APP.sub('"index",', '"home",'), files: PUBLIC, env: { "FILES" => "1" })
  assert_equal "app /robots.txt", odd.client.get("/robots.txt").body
  broken = serve_files(app: "#{RAILS}def Rails.public_path = raise('no')\nrun ->(_) { [200, {}, ['app']] }\n", files: PUBLIC, env: { "FILES" => "1" })
  assert_equal "app", broken.client.get("/robots.txt").body
  assert_match(/cannot tell what Rails would serve, it does so itself: RuntimeError: no/, broken.log)
end
