#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The shared statistics: they say what clients have seen, they have one owner, they vanish with it.

require_relative "top"

# Where the maps of an instance are, and what is there.
def files(*folders)
  folders.flat_map { |folder| Dir.glob("#{folder}/*") }.map { |path| File.basename(path) }.sort
end

on_each_loop "each request is counted once, by route and status" do |mode|
  server, folder = serve_counted("--io-uring", mode, "-w", 2, "--constant", "/a=1", "--constant", "/b=22")
  eventually("two workers") { server.workers.size == 2 }
  asked = Hash.new(0)
  40.times do |i|
    client = server.client
    (i % 7).times { client.get("/a") && asked["GET /a"] += 1 }
    (i % 3).times { client.get("/b?#{i}") && asked["GET /b"] += 1 }
    client.get("/nothing/#{i}") && asked["- (not found)"] += 1
    client.write("GET / HTTP/1.1\r\nHost : x\r\n\r\n").answer && asked["- (refused)"] += 1 if (i % 5).zero?
  end
  client = server.client
  client.write("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n").answer(head: true) && asked["HEAD /a"] += 1
  client.write("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").answer && asked["- (not found)"] += 1
  reading = eventually("the last one to be counted") { r = top(server, folder); r if r["requests"] >= asked.values.sum }
  classes = { "- (not found)" => "4xx", "- (refused)" => "4xx" }
  assert_equal asked.to_h { |name, nr| [name, { classes.fetch(name, "2xx") => nr }] }.sort, counts(reading).sort
  reading["routes"].each do |r|
    assert_equal r["requests"], r["times"]["total"]["count"], r["route"]
    assert_equal r["requests"], r["times"]["send"]["count"], r["route"]
    assert_equal 0, r["times"]["queue"]["count"]
  end
  assert_equal 41, reading["workers"].sum { |w| w["accepted"] }
  assert_equal [1, 1], reading["workers"].map { |w| w["starts"] }
  assert_equal [mode == "off" ? "epoll" : reading["workers"][0]["loop"]] * 2, reading["workers"].map { |w| w["loop"] }
  assert_equal 5, reading["bytes_in"]
end

on_each_loop "a million requests on two workers are a million counts", seconds: 60 do |mode|
  needs("native")
  server, folder = serve_counted("--io-uring", mode, "-w", 2, "--constant", "/a=1", "--constant", "/b=22")
  eventually("two workers") { server.workers.size == 2 }
  kinds = { "/a" => 8, "/b" => 5, "/nothing" => 3 }
  round = kinds.map { |path, nr| "GET #{path} HTTP/1.1\r\nHost: t\r\n\r\n" * nr }.join
  nr_clients, nr_rounds = 8, 7813 # of 16 requests
  # A round's answers have one length, so that they need not be parsed.
  one = server.exchange(round.sub(/\r\n\r\n\z/, "\r\nConnection: close\r\n\r\n")).bytesize - "connection: close\r\n".bytesize
  threads = Array.new(nr_clients) do
    Thread.new do
      server.connect do |socket|
        buffer = +""
        nr_rounds.times do
          socket.write(round)
          left = one
          left -= socket.readpartial(left, buffer).bytesize while left.positive?
        end
      end
    end
  end
  threads.each(&:join)
  rounds = nr_clients * nr_rounds + 1
  reading = eventually("all") { r = top(server, folder); r if r["requests"] == 16 * rounds }
  assert_equal({ "GET /a" => { "2xx" => 8 * rounds }, "GET /b" => { "2xx" => 5 * rounds },
                 "- (not found)" => { "4xx" => 3 * rounds } }.sort, counts(reading).sort)
  assert_equal 16 * rounds, reading["times"]["total"]["count"]
  assert_equal 16 * rounds, reading["workers"].sum { |w| w["requests"] }
end

test "connections are counted by state" do
  server, folder = serve_counted("-w", 1, "--constant", "/=x")
  clients = Array.new(3) { server.client.tap(&:get) }
  assert_equal 3, eventually("three") { top(server, folder)["connections"].values_at("open") == [3] && 3 }
  clients.each { |client| client.socket.close }
  eventually("none") { top(server, folder)["connections"]["open"].zero? }
end

test "counters go on when a worker is replaced, what is now does not" do
  server, folder = serve_counted("-w", 1, "--constant", "/=x")
  client = server.client
  5.times { client.get }
  eventually("5") { top(server, folder)["requests"] == 5 }
  Process.kill(:KILL, server.workers.first)
  eventually("its death to be seen") { server.log.include?("killed by signal 9") }
  assert_equal 200, server.client.get("/", "Connection: close").status
  reading = eventually("6") { r = top(server, folder); r if r["requests"] == 6 && r["connections"]["open"].zero? }
  assert_equal [2, 2], [reading["workers"][0]["starts"], reading["workers"][0]["accepted"]]
  assert_equal server.workers.first, reading["workers"][0]["pid"] if Server::MODE != "nobody"
end

test "an app: a thousand paths are one route, other names end in one row", seconds: 30 do
  app = File.join(open_folder, "config.ru")
  File.write(app, 'run ->(env) { [env["PATH_INFO"] == "/gone" ? 404 : 200, {}, ["hi"]] }')
  server, folder = serve_counted("-w", 2, "-e", "production", app)
  client = server.client
  1000.times { |i| client.get("/users/#{i}") }
  client.get("/gone")
  reading = eventually("all") { r = top(server, folder); r if r["requests"] == 1001 }
  assert_equal({ "GET /users/:id" => { "2xx" => 1000 }, "- (not found)" => { "4xx" => 1 } }, counts(reading))
  # Each a name of its own: letters stay. Of 256, three rows are fixed, two are pages of our own, one is taken.
  names = ("aa".."zz").first(300)
  names.each { |name| client.get("/#{name}") }
  reading = eventually("all") { r = top(server, folder); r if r["requests"] == 1301 }
  assert_equal 250, reading["routes"].count { |r| r["kind"] == "template" } - 1
  assert_equal({ "2xx" => 50 }, counts(reading)["- other"])
  assert_equal 50, reading["routes_overflowed"]
  times = reading["routes"].find { |r| r["route"] == "/users/:id" }["times"]
  assert_equal [1000] * 4, times.values_at("total", "queue", "app", "send").map { |t| t["count"] }
end

test "a second server of the name is refused, and takes nothing from the first" do
  server, folder = serve_counted("-w", 1, "--constant", "/=x")
  server.client.get
  second = Server.start("-w", 1, "--instance", server.instance, env: { "XDG_RUNTIME_DIR" => folder }, wait: false)
  assert_equal 1, second.wait.exitstatus
  assert_match(/error: stats: an instance named #{server.instance} runs already pid=\d+; .*--instance NAME/, second.log)
  eventually("the first to count") { top(server, folder)["requests"] == 1 }
  server.clients_go
  server.stop
  third = Server.start("-w", 1, "--instance", server.instance, env: { "XDG_RUNTIME_DIR" => folder })
  assert_equal 0, third.stop.exitstatus
end

test "what a killed server left behind is gone with the next of its name, and a stopped one leaves nothing", seconds: 20 do
  server, folder = serve_counted("-w", 1, "--constant", "/=x")
  server.client.get("/", "Connection: close")
  eventually("a count") { top(server, folder)["requests"] == 1 }
  places = server.statistics + [File.join(folder, "hyperion", server.instance)]
  names = %w[cells header own routes steer workers]
  assert_equal names, files(*places) - %w[control lock]
  Process.kill(:KILL, server.pid)
  server.wait
  assert_equal names, files(*places) - %w[control lock]
  eventually("hyperion-top to say so", seconds: 10) do
    _, err, status = run_top(server.instance, folder, "--once")
    status == 1 && err.include?("was killed (pid #{server.pid}), and left its maps behind")
  end
  again = Server.start("-w", 1, "--constant", "/=x", "--instance", server.instance, env: { "XDG_RUNTIME_DIR" => folder })
  assert_equal 0, top(again, folder)["requests"]
  again.stop
  assert_equal [], files(*places)
  out, err, status = run_top(server.instance, folder, "--once")
  assert_equal ["", "hyperion-top: no server of the instance #{server.instance} runs here\n", 1], [out, err, status]
end

test "--no-bpf: the same in files of shared memory" do
  server, folder = serve_counted("--no-bpf", "-w", 1, "--constant", "/=x")
  3.times { server.client.get }
  eventually("3") { top(server, folder)["requests"] == 3 }
  refute File.exist?("/sys/fs/bpf/hyperion/#{server.instance}")
  place = (server.statistics + [File.join(folder, "hyperion", server.instance)]).find { |path| File.directory?(path) }
  assert_equal %w[cells control header lock own routes steer workers], files(place)
  assert_equal 0o750, File.stat(place).mode & 0o777
  assert_equal 0o660, File.stat(File.join(place, "control")).mode & 0o777
  assert_equal [0o640], (files(place) - ["control"]).map { |name| File.stat(File.join(place, name)).mode & 0o777 }.uniq
end

test "with BPF they are pinned, for the group alone to read" do
  needs "bpf"
  needs "root"
  skip "root: the server runs as nobody" if Server::MODE == "nobody"
  server, folder = serve_counted("-w", 1, "--user", "nobody", "--constant", "/=x")
  server.client.get
  place = "/sys/fs/bpf/hyperion/#{server.instance}"
  assert_equal %w[cells header own routes steer workers], files(place)
  group = File.stat(place).gid
  assert_equal [[0, group, 0o640]], files(place).map { |n| s = File.stat(File.join(place, n)); [s.uid, s.gid, s.mode & 0o777] }.uniq
  member = ["setpriv", "--reuid", "12345", "--regid", group.to_s, "--clear-groups"]
  other = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
  copy = File.join(open_folder, "hyperion-top")
  FileUtils.cp(TOP, copy)
  out, err, status = Open3.capture3(*member, copy, "--instance", server.instance, "--once", "--json")
  assert_equal [0, ""], [status.exitstatus, err]
  assert_equal 1, JSON.parse(out)["requests"]
  _, err, status = Open3.capture3(*other, copy, "--instance", server.instance, "--once", "--json")
  assert_equal 1, status.exitstatus
  assert_match(/may not read #{place}: be root, or of the group/, err)
  assert_equal 1, top(server, folder)["requests"]
end

test "hyperion-top: a table, CSV, and what it does not take" do
  server, folder = serve_counted("-w", 1, "--constant", "/hello=x")
  2.times { server.client.get("/hello") }
  eventually("2") { top(server, folder)["requests"] == 2 }
  out, = run_top(server.instance, folder, "--once")
  assert_match(/^requests 2 in /, out)
  assert_match(%r{ GET /hello$}, out)
  lines = run_top(server.instance, folder, "--once", "--csv").first.lines(chomp: true)
  assert_equal 2, lines.size
  row = lines[0].split(",").zip(lines[1].split(",")).to_h
  assert_equal ["GET", '"/hello"', "2", "2"], row.values_at("method", "route", "requests", "2xx")
  assert_equal 0, top(server, folder, "--interval", "0.1")["requests"]
  { %w[--interval x] => "seconds, from 0.05 to 3600", %w[--instance a/b] => "a name of letters" }.each do |args, why|
    _, err, status = run_top(server.instance, folder, *args)
    assert_equal 2, status
    assert_include err, why
  end
end

test "an app names its routes: hyperion.route, else Rails' pattern, also when it raises" do
  app = File.join(open_folder, "config.ru")
  File.write(app, <<~'RUBY')
    run lambda { |env|
      name, rails = env["QUERY_STRING"].split("&")
      env["hyperion.route"] = name unless name.to_s.empty?
      env["action_dispatch.route_uri_pattern"] = rails if rails
      raise "no" if env["PATH_INFO"] == "/raise"
      [200, {}, ["hi"]]
    }
  RUBY
  server, folder = serve_counted("-w", 1, "-e", "production", app)
  %w[/a?users#show /b?users#show /c?&/things/:id(.:format) /d?mine&/things/:id /raise?broken /e/5].each do |target|
    server.client.get(target.sub("#", "."))
  end
  server.client.get("/long?#{"n" * 200}")
  reading = eventually("all") { r = top(server, folder); r if r["requests"] == 7 }
  assert_equal({ "GET users.show" => { "2xx" => 2 }, "GET /things/:id" => { "2xx" => 1 }, "GET mine" => { "2xx" => 1 },
                 "GET broken" => { "5xx" => 1 }, "GET /e/:id" => { "2xx" => 1 }, "GET #{"n" * 112}" => { "2xx" => 1 } }, counts(reading))
  assert_equal %w[named named named named named template], reading["routes"].map { |r| r["kind"] }.sort
end

test "rules of the config file name routes; a path that none matches, or an answer of 404, is named as ever" do
  folder = open_folder
  app = File.join(folder, "config.ru")
  File.write(app, 'run ->(env) { [env["PATH_INFO"].start_with?("/no") ? 404 : 200, {}, ["hi"]] }')
  config = File.join(folder, "c.rb")
  File.write(config, "metrics do\n  path_templater(%r{\\A/shops/[^/]+} => '/shops/:shop', %r{raise} => '\\\\k<none>')\nend\n")
  server, top_folder = serve_counted("-w", 1, "-e", "production", "-C", config, app)
  %w[/shops/berlin/5 /shops/rome/6 /shops/rome /other/7 /none/8 /raise].each { |target| server.client.get(target) }
  reading = eventually("all") { r = top(server, top_folder); r if r["requests"] == 6 }
  assert_equal({ "GET /shops/:shop/:id" => { "2xx" => 2 }, "GET /shops/:shop" => { "2xx" => 1 }, "GET /other/:id" => { "2xx" => 1 },
                 "- (not found)" => { "4xx" => 1 }, "GET /raise" => { "2xx" => 1 } }, counts(reading))
  assert_match(/path_templater raised class=IndexError/, server.log)
end

test "hyperion-top: maps of another version, and what is no map at all" do
  server, folder = serve_counted("--no-bpf", "-w", 1)
  place = (server.statistics + [File.join(folder, "hyperion", server.instance)]).find { |path| File.directory?(path) }
  header = File.join(place, "header")
  bytes = File.binread(header)
  File.write(header, [99].pack("L"), 4, mode: "r+b")
  out, err, status = run_top(server.instance, folder, "--once")
  assert_equal ["", 1], [out, status]
  assert_match(/statistics are of version 99, this program knows 3: use the hyperion-top that came with it/, err)
  File.write(header, "no map", 0, mode: "r+b")
  _, err, status = run_top(server.instance, folder, "--once")
  assert_equal 1, status
  assert_match(/these are not the maps of a hyperion-bpf/, err)
  File.write(header, bytes[0, 64], 0, mode: "r+b")
  assert_equal 0, top(server, folder)["requests"]
end
