#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The layers: the tree keeps them, and the check notices who does not.

require_relative "../harness/tap"
require "open3"

LAYERS = File.join(Server::ROOT, "tools/layers")

# A tree of its own: path => text; answers [output, whether it passed].
def check(files)
  Dir.mktmpdir do |root|
    conf = { "tools/layers.conf" => File.read(File.join(Server::ROOT, "tools/layers.conf")) }
    conf.merge(files).each do |path, text|
      FileUtils.mkdir_p(File.dirname(File.join(root, path)))
      File.write(File.join(root, path), text)
    end
    output, status = Open3.capture2e(LAYERS, root)
    return [output, status.success?]
  end
end

def refused(files, *words)
  output, ok = check(files)
  refute ok, "passed: #{output}"
  words.each { |word| assert_include output, word }
end

test "this tree keeps its layers" do
  output, status = Open3.capture2e(LAYERS)
  assert status.success?, output
end

test "own level and below pass" do
  output, ok = check("server/base.h" => "", "server/arena.h" => %(#include "server/base.h"\n),
                     "server/slab.h" => %(#include "server/arena.h"\n#include <stdio.h>\n))
  assert ok, output
end

test "a higher level is refused" do
  refused({ "server/arena.h" => %(\n#include "server/conn.h"\n), "server/conn.h" => "" },
          "server/arena.h:2", "level 1 includes server/conn.h of level 6")
end

test "an unlisted file is refused" do
  refused({ "server/stray.c" => "" }, "server/stray.c", "not listed")
end

test "a path that is not from the root is refused" do
  refused({ "server/base.h" => "", "server/arena.h" => %(#include "base.h"\n) }, "from the root")
end

test "liburing, epoll and sockets stay where they belong" do
  refused({ "server/h1.c" => "#include <sys/socket.h>\n" }, "sys/socket.h is only for ktls/offload, ktls/offload_probe, tools/ctl_*, level 6")
  refused({ "ktls/engine.c" => "#include <sys/socket.h>\n" }, "sys/socket.h is only for")
  refused({ "server/conn.c" => "#include <liburing.h>\n" }, "liburing.h is only for server/loop_uring")
  refused({ "server/loop_uring.c" => "#  include <sys/epoll.h>\n" }, "only for server/loop_epoll")
  output, ok = check("server/loop_uring.c" => "#include <liburing.h>\n#include <sys/socket.h>\n")
  assert ok, output
end

test "Ruby, OpenSSL and libbpf stay where they belong" do
  refused({ "server/worker.c" => "#include <ruby.h>\n" }, "only for ruby_glue/*")
  refused({ "server/worker.c" => "#include <openssl/ssl.h>\n" }, "only for ktls/*")
  refused({ "server/worker.c" => "#include <bpf/libbpf.h>\n" }, "only for")
  output, ok = check("ruby_glue/app.c" => "#include <ruby.h>\n", "ktls/engine.c" => "#include <openssl/ssl.h>\n",
                     "server/steer.c" => "#include <bpf/libbpf.h>\n")
  assert ok, output
end

test "tools take only the BPF layouts" do
  refused({ "tools/top.c" => %(#include "server/base.h"\n), "server/base.h" => "" }, "tools/ takes only")
  output, ok = check("tools/top.c" => %(#include "bpf/abi.h"\n), "bpf/abi.h" => "")
  assert ok, output
end

test "the house does not include its tests" do
  refused({ "server/arena.c" => %(#include "selftests/harness/guard.h"\n), "selftests/harness/guard.h" => "" },
          "outside the house")
end
