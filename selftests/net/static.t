#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# File trees as a client sees them.

require_relative "client"
require "open3"
require "socket"
require "zlib"

# A folder with files, "name" => bytes; readable whoever the server runs as.
def site(files = { "a.txt" => "hello\n" })
  dir = open_folder
  files.each do |name, bytes|
    path = File.join(dir, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.binwrite(path, bytes)
  end
  dir
end

def serve(mode, dir, *args, option: "--static", prefix: "/assets", **how)
  Server.start("--io-uring", mode, "-w", 1, option, "#{prefix}=#{dir}", "--no-log-requests", *args, **how)
end

# By rename, as deploys do it.
def replace(path, bytes)
  File.binwrite("#{path}.new", bytes)
  File.rename("#{path}.new", path)
end

on_each_loop "a small file: type, length, validators; HEAD; 304; 404 outside" do |mode|
  client = serve(mode, site).client
  answer = client.get("/assets/a.txt")
  assert_equal 200, answer.status
  assert_equal "hello\n", answer.body
  assert_equal "text/plain; charset=utf-8", answer.headers["content-type"]
  assert_equal "bytes", answer.headers["accept-ranges"]
  assert_match(/\A"[^"]+"\z/, answer.headers["etag"])
  refute answer.headers.key?("vary"), "there is nothing to negotiate"
  refute answer.headers.key?("cache-control")
  client.write("HEAD /assets/a.txt HTTP/1.1\r\nHost: test\r\n\r\n")
  head = client.answer(head: true)
  assert_equal answer.headers.except("date"), head.headers.except("date")
  client.write("GET /assets/a.txt HTTP/1.1\r\nHost: test\r\nIf-None-Match: #{answer.headers["etag"]}\r\n\r\n")
  not_modified = client.answer(head: true)
  assert_equal 304, not_modified.status
  assert_equal answer.headers["etag"], not_modified.headers["etag"]
  refute not_modified.headers.key?("content-length")
  %w[/assets/none /assets /assets/ /assetsx /a.txt /].each { |path| assert_equal 404, client.get(path).status, path }
end

on_each_loop "methods other than GET and HEAD: 405 with Allow, body or not" do |mode|
  client = serve(mode, site).client
  %w[POST PUT DELETE PATCH OPTIONS].each do |method|
    client.write("#{method} /assets/a.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
    answer = client.answer
    assert_equal [405, "GET, HEAD"], [answer.status, answer.headers["allow"]]
  end
  client.write("GET /assets/a.txt HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\nTransfer-Encoding: chunked\r\n\r\n" \
               "3\r\nabc\r\n0\r\n\r\n")
  assert_equal [206, "el"], client.answer.then { |a| [a.status, a.body] }
  client.write("GET /assets/a.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
  assert_equal "hello\n", client.answer.body
end

on_each_loop "every size on both sides of the cache's limit, whole and in order when pipelined" do |mode|
  sizes = [0, 1, 600, 700, 800, 1000, 1024, 4096, 65_535, 65_536, 65_537, 300_000, 1_500_000]
  random = Random.new(1)
  files = sizes.to_h { |n| ["#{n}.bin", random.bytes(n)] }
  client = serve(mode, site(files)).client
  2.times do
    sizes.each { |n| assert_equal files["#{n}.bin"], client.get("/assets/#{n}.bin").body, "#{n} bytes" }
  end
  asked = sizes.shuffle(random: random) * 2
  writer = Thread.new { asked.each { |n| client.write("GET /assets/#{n}.bin HTTP/1.1\r\nHost: test\r\n\r\n") } }
  asked.each { |n| assert_equal files["#{n}.bin"], client.answer.body, "#{n} bytes" }
  writer.join
  client.write("GET /assets/300000.bin HTTP/1.0\r\n\r\n")
  answer = client.answer
  assert_equal files["300000.bin"], answer.body
  assert answer.last?
end

on_each_loop "folders: index.html, a redirect to it, nothing without" do |mode|
  client = serve(mode, site("sub/index.html" => "<p>", "empty/x" => "", "index.html" => "top")).client
  assert_equal "<p>", client.get("/assets/sub/").body
  assert_equal "text/html; charset=utf-8", client.get("/assets/sub/").headers["content-type"]
  answer = client.get("/assets/sub?a=b")
  assert_equal [301, "/assets/sub/?a=b"], [answer.status, answer.headers["location"]]
  answer = client.get("/assets")
  assert_equal [301, "/assets/"], [answer.status, answer.headers["location"]]
  assert_equal "top", client.get("/assets/").body
  %w[empty empty/ sub/x sub/index.html/ none/].each { |p| assert_equal 404, client.get("/assets/#{p}").status, p }
end

on_each_loop "a whole site at /, a tree within it, an exact route before both" do |mode|
  server = serve(mode, site("a.txt" => "root", "sub/b.txt" => "root b"), "--static", "/sub=#{site("a.txt" => "inner")}",
                 "--constant", "/exact=constant", prefix: "/")
  client = server.client
  assert_equal "root", client.get("/a.txt").body
  assert_equal "inner", client.get("/sub/a.txt").body
  assert_equal 404, client.get("/sub/b.txt").status
  assert_equal "constant", client.get("/exact").body
  assert_equal "OK\n", client.get("/-/health").body
end

on_each_loop "compressed siblings by Accept-Encoding" do |mode|
  files = { "a.js" => "plain" * 9, "a.js.gz" => "GZ", "a.js.br" => "BR", "a.js.zst" => "ZST", "b.js" => "only" }
  client = serve(mode, site(files), option: "--static-immutable").client
  { nil => nil, "gzip" => "gzip", "gzip, br" => "br", "br;q=0.5, gzip;q=0.9" => "gzip", "zstd" => "zstd", "*" => "br",
    "deflate" => nil, "identity" => nil, "gzip;q=0" => nil, "" => nil, "br;q=0, *" => "zstd" }.each do |asked, got|
    answer = client.get("/assets/a.js", *(asked && ["Accept-Encoding: #{asked}"]))
    assert_equal [200, got], [answer.status, answer.headers["content-encoding"]], asked.inspect
    assert_equal files["a.js#{{ nil => "", "gzip" => ".gz", "br" => ".br", "zstd" => ".zst" }[got]}"], answer.body
    assert_equal "accept-encoding", answer.headers["vary"]
    assert_equal "text/javascript; charset=utf-8", answer.headers["content-type"]
    assert_equal "public, max-age=31536000, immutable", answer.headers["cache-control"]
  end
  assert_equal 406, client.get("/assets/b.js", "Accept-Encoding: identity;q=0, gzip").status
  tags = [nil, "gzip", "br"].map { |c| client.get("/assets/a.js", *(c && ["Accept-Encoding: #{c}"])).headers["etag"] }
  assert_equal 3, tags.uniq.size
end

on_each_loop "ranges, as curl asks for them" do |mode|
  bytes = Random.new(2).bytes(200_000)
  server = serve(mode, site("small" => bytes[0, 5000], "large" => bytes))
  { "small" => 5000, "large" => 200_000 }.each do |name, size|
    { "0-0" => 0..0, "10-4000" => 10..4000, "-1" => (size - 1)..(size - 1), "4999-" => 4999..(size - 1),
      "3000-99999999999999999999999" => 3000..(size - 1) }.each do |asked, got|
      out, status = Open3.capture2("curl", "-s", "-r", asked, "-w", "%{http_code}",
                                   "http://127.0.0.1:#{server.port}/assets/#{name}", binmode: true)
      assert status.success?
      assert_equal "206", out.slice!(-3..)
      assert_equal bytes[0, size][got], out, "#{name} #{asked}"
    end
    answer = server.client.get("/assets/#{name}", "Range: bytes=5-9,100-2099,-7")
    assert_equal 206, answer.status
    boundary = answer.headers["content-type"][%r{\Amultipart/byteranges; boundary=(\w+)\z}, 1]
    parts = answer.body.split("\r\n--#{boundary}")
    assert_equal ["", "--\r\n"], [parts.shift, parts.pop]
    parts.zip([5..9, 100..2099, (size - 7)..(size - 1)]) do |part, range|
      head, body = part.split("\r\n\r\n", 2)
      assert_equal bytes[0, size][range], body
      assert_match(/^content-range: bytes #{range.begin}-#{range.end}\/#{size}\r?$/, head)
    end
    answer = server.client.get("/assets/#{name}", "Range: bytes=#{size}-")
    assert_equal [416, "bytes */#{size}"], [answer.status, answer.headers["content-range"]]
  end
end

# What leads out of the tree, or to what is not for everybody; each also with every byte of it escaped.
ESCAPES = %w[
  /../secret /../../secret /sub/../../secret /sub/../a.txt /./a.txt /sub/./../../secret //etc/passwd /etc//passwd
  /link-out /link-abs /linkdir-out/secret /.hidden /.git/config /sub/.hidden /fifo /socket /null /loop
  /a.txt%00 /..%2fsecret
].freeze

def written(path)
  [path,
   path.gsub(%r{[^/%]}) { |c| format("%%%02x", c.ord) },
   path.gsub(/\./, "%2E"),
   path.gsub("%", "%25").gsub(%r{(?<=.)/|\.}) { |c| format("%%25%02x", c.ord) }]
end

on_each_loop "no way out of the tree: #{ESCAPES.size} ways, written in four ways" do |mode|
  dir = File.join(open_folder, "root")
  Dir.mkdir(dir)
  { "a.txt" => "a", ".hidden" => "h", ".git/config" => "g", "sub/.hidden" => "h", "../secret" => "s",
    ".well-known/x" => "known", "in.txt" => "in", "etc/passwd" => "p" }.each do |name, bytes|
    FileUtils.mkdir_p(File.dirname(File.join(dir, name)))
    File.binwrite(File.join(dir, name), bytes)
  end
  File.symlink("../secret", File.join(dir, "link-out"))
  File.symlink(File.join(dir, "a.txt"), File.join(dir, "link-abs"))
  File.symlink("..", File.join(dir, "linkdir-out"))
  File.symlink("loop", File.join(dir, "loop"))
  File.symlink("../in.txt", File.join(dir, "sub/link-in"))
  File.mkfifo(File.join(dir, "fifo"))
  UNIXServer.new(File.join(dir, "socket")).close
  # A device needs privilege to be made.
  system("mknod", File.join(dir, "null"), "c", "1", "3", err: File::NULL)
  server = serve(mode, dir)
  client = server.client
  assert_equal %w[a a known in p],
               %w[a.txt %61.txt .well-known/x sub/link-in etc/passwd].map { |p| client.get("/assets/#{p}").body }
  ESCAPES.flat_map { |path| written(path) }.each do |path|
    assert_equal 404, client.get("/assets#{path}").status, path
  end
  ["/%", "/%4", "/%zz", "/\\..\\secret", "/%5c..%5csecret", "/a.txt/", "/#{"x" * 300}", "/#{"x/" * 600}"].each do |path|
    assert_equal 404, client.get("/assets#{path}").status, path
  end
end

on_each_loop "a file replaced, taken away and put back is seen after the recheck", seconds: 30 do |mode|
  dir = site("a.txt" => "one", "big" => "1" * 100_000)
  client = serve(mode, dir, "--static-recheck", 1).client
  etag = client.get("/assets/a.txt").headers["etag"]
  client.get("/assets/big")
  replace("#{dir}/a.txt", "two")
  replace("#{dir}/big", "2" * 100_001)
  eventually("the new version") { client.get("/assets/a.txt").body == "two" && client.get("/assets/big").body == "2" * 100_001 }
  refute etag == client.get("/assets/a.txt").headers["etag"], "another version has another tag"
  File.binwrite("#{dir}/a.txt.gz", "GZ")
  eventually("the sibling") { client.get("/assets/a.txt", "Accept-Encoding: gzip").body == "GZ" }
  File.unlink("#{dir}/a.txt")
  eventually("404") { client.get("/assets/a.txt").status == 404 }
  File.binwrite("#{dir}/a.txt", "three")
  assert_equal "three", client.get("/assets/a.txt").body, "what is missing is not remembered"
end

# --- versions ---

# One version: its number, over and over, in as many bytes as the number says.
def version(number, size)
  (format("%08d", number) * (size / 8 + 1)).byteslice(0, size)
end

# The number, when all of @bytes is one version of a file whose sizes are size.call(number).
def whole_version(bytes, size)
  number = bytes[/\A\d{8}/]&.to_i
  number if number && bytes == version(number, size.call(number))
end

SIZES = [100, 3000, 60_000, 66_000, 400_000].freeze

on_each_loop "1,000 files replaced under load: each answer is one version", seconds: 60 do |mode|
  needs("native")
  sizes = Array.new(1000) { |i| SIZES[i % SIZES.size] }
  size_of = ->(i) { ->(number) { sizes[i] + number % 7 } }
  dir = site(Array.new(1000) { |i| ["f#{i}", version(1, size_of.call(i).call(1))] }.to_h)
  server = serve(mode, dir, "--static-recheck", 0)
  stop = false
  numbers = Hash.new { |h, i| h[i] = [1] }
  answered = 0
  readers = Array.new(3) do |n|
    Thread.new do
      client = server.client
      random = Random.new(n)
      seen = Hash.new(0)
      until stop
        i = random.rand(1000)
        answer = client.get("/assets/f#{i}")
        got = whole_version(answer.body, size_of.call(i)) or flunk("f#{i}: #{answer.body.bytesize} bytes of several versions")
        assert got >= seen[i], "f#{i}: #{got} came after #{seen[i]}"
        seen[i] = got
        answered += 1
      end
      seen
    end
  end
  random = Random.new(9)
  ends = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 3
  number = 1
  while Process.clock_gettime(Process::CLOCK_MONOTONIC) < ends
    number += 1
    i = random.rand(1000)
    replace("#{dir}/f#{i}", version(number, size_of.call(i).call(number)))
    numbers[i] << number
  end
  stop = true
  readers.each(&:value)
  assert number > 100 && answered > 500, "#{number} versions, #{answered} answers"
  client = server.client
  numbers.first(50).each { |i, all| assert_equal all.last, whole_version(client.get("/assets/f#{i}").body, size_of.call(i)) }
end

on_each_loop "a large file cut short or written to while it is sent: the connection is cut", seconds: 30 do |mode|
  dir = site("big" => "1" * 60_000_000)
  server = serve(mode, dir)
  [->(f) { f.truncate(5_000_000) }, ->(f) { f.pwrite("2" * 100, 59_000_000) }].each do |change|
    File.binwrite("#{dir}/big", "1" * 60_000_000)
    client = server.client
    client.write("GET /assets/big HTTP/1.1\r\nHost: test\r\n\r\n")
    client.socket.readpartial(1000)
    sleep 0.05 # so that the times differ
    File.open("#{dir}/big", "r+b", &change)
    rest = begin
      client.rest
    rescue Errno::ECONNRESET
      "".b
    end
    assert rest.bytesize < 59_000_000, "#{rest.bytesize} bytes came"
    assert server.client.get("/assets/big").body.bytesize == File.size("#{dir}/big"), "the next one gets the new version"
  end
end

on_each_loop "files in memory (tmpfs)" do |mode|
  skip "tmpfs: no /dev/shm" unless File.writable?("/dev/shm")
  dir = Dir.mktmpdir("hyperion-net", "/dev/shm")
  Tap.after { FileUtils.remove_entry(dir, true) }
  File.chmod(0o755, dir)
  bytes = Random.new(3).bytes(900_000)
  File.binwrite("#{dir}/large", bytes)
  File.binwrite("#{dir}/small", bytes[0, 900])
  client = serve(mode, dir).client
  3.times { assert_equal [bytes, bytes[0, 900]], [client.get("/assets/large").body, client.get("/assets/small").body] }
end

on_each_loop "files on overlayfs" do |mode|
  base = open_folder
  %w[lower upper work all].each { |d| Dir.mkdir(File.join(base, d)) }
  bytes = Random.new(3).bytes(900_000)
  File.binwrite("#{base}/lower/large", bytes)
  options = "lowerdir=#{base}/lower,upperdir=#{base}/upper,workdir=#{base}/work"
  mounted = Process.euid.zero? && system("mount", "-t", "overlay", "overlay", "-o", options, "#{base}/all", err: File::NULL)
  skip "overlayfs: cannot be mounted here" unless mounted
  Tap.after { system("umount", "-l", "#{base}/all") }
  File.binwrite("#{base}/all/upper.txt", "upper")
  client = serve(mode, "#{base}/all").client
  3.times { assert_equal [bytes, "upper"], [client.get("/assets/large").body, client.get("/assets/upper.txt").body] }
end

on_each_loop "many clients, many files, some of them go in the middle", seconds: 30 do |mode|
  files = Array.new(20) { |i| ["#{i}", Random.new(i).bytes(10_000 * i * i + 1)] }.to_h
  server = serve(mode, site(files))
  Array.new(12) do |n|
    Thread.new do
      random = Random.new(n)
      6.times do
        client = server.client
        names = Array.new(5) { random.rand(20).to_s }
        names.each { |name| client.write("GET /assets/#{name} HTTP/1.1\r\nHost: test\r\n\r\n") }
        names.each_with_index do |name, k|
          break client.close if n.even? && k == 3

          assert client.answer.body == files[name], "#{name} is not what it was"
        end
      end
    end
  end.each(&:value)
  assert_equal 200, server.client.get("/assets/1").status
end

# --- compressed on the way ---

def unpack(answer)
  answer.headers["content-encoding"] == "gzip" ? Zlib.gunzip(answer.body) : answer.body
end

on_each_loop "text is compressed for who comes later", seconds: 30 do |mode|
  text = Array.new(30_000) { |i| "line #{i % 700}\n" }.join
  dir = site("a.css" => text[0, 20_000], "big.js" => text, "short.css" => "x" * 1023, "a.png" => text, "b.css" => text, "b.css.gz" => "GZ",
             "noise.css" => Random.new(1).bytes(30_000))
  client = serve(mode, dir, "--static-recheck", 60).client
  tags = %w[a.css big.js].map do |name|
    whole = File.binread("#{dir}/#{name}")
    first = client.get("/assets/#{name}", "Accept-Encoding: gzip")
    assert_equal whole, unpack(first), "whoever asks first waits for nobody"
    assert_equal "accept-encoding", first.headers["vary"]
    eventually("gzip of #{name}") { client.get("/assets/#{name}", "Accept-Encoding: gzip").headers["content-encoding"] == "gzip" }
    eventually("br of #{name}") { client.get("/assets/#{name}", "Accept-Encoding: gzip, br").headers["content-encoding"] == "br" }
    packed = client.get("/assets/#{name}", "Accept-Encoding: gzip", "Range: bytes=0-5")
    assert_equal [200, "none"], [packed.status, packed.headers["accept-ranges"]]
    assert_equal whole, unpack(packed)
    assert packed.body.bytesize < whole.bytesize / 2
    assert_match(%r{\AW/"}, packed.headers["etag"])
    client.write("GET /assets/#{name} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nIf-None-Match: #{packed.headers["etag"]}\r\n\r\n")
    assert_equal 304, client.answer(head: true).status
    plain = client.get("/assets/#{name}", "Range: bytes=0-5")
    assert_equal [206, whole[0, 6]], [plain.status, plain.body]
    [plain, packed, client.get("/assets/#{name}", "Accept-Encoding: br")].map { |a| a.headers["etag"] }
  end
  assert_equal 6, tags.flatten.uniq.size
  assert_equal "GZ", client.get("/assets/b.css", "Accept-Encoding: gzip").body
  5.times do
    %w[short.css a.png noise.css].each do |name|
      answer = client.get("/assets/#{name}", "Accept-Encoding: gzip, br")
      assert_equal [nil, File.binread("#{dir}/#{name}")], [answer.headers["content-encoding"], answer.body]
    end
    sleep 0.1
  end
end

on_each_loop "beside an app, from its config file", seconds: 30 do |mode|
  dir = site("public/a.txt" => "file", "config/hyperion.rb" => "static '/assets', from: 'public', immutable: true\n",
             "config.ru" => "run ->(env) { [200, { 'content-type' => 'text/plain' }, [env['REQUEST_METHOD'], env['PATH_INFO']]] }\n")
  server = Server.start("--io-uring", mode, "-w", 1, "-e", "production", "--no-log-requests", "config.ru", chdir: dir)
  client = server.client
  answer = client.get("/assets/a.txt")
  assert_equal ["file", "public, max-age=31536000, immutable"], [answer.body, answer.headers["cache-control"]]
  assert_equal 404, client.get("/assets/none").status
  assert_equal "GET/other", client.get("/other").body
  assert_equal "GET/assetsx", client.get("/assetsx").body
  client.write("POST /assets/a.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
  assert_equal 405, client.answer.status
end
