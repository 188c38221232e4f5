#!/usr/bin/env ruby
# frozen_string_literal: true
# SPDX-License-Identifier: MIT
# The build: what is built again when what changes. A small tree with the real makefiles.

require_relative "../harness/tap"
require "open3"

TREE = {
  "server/Kbuild" => "core-y := one.o two.o\nprogs-y := hyperion-bpf\nhyperion-bpf-y := main.o\nhyperion-bpf-core := y\n",
  "server/one.h" => "#define ONE 1\nint one(void);\nint two(void);\n",
  "server/one.c" => "#include \"server/one.h\"\nint one(void)\n{\n\treturn ONE;\n}\n",
  "server/two.c" => "#include \"server/one.h\"\nint two(void)\n{\n\treturn 2;\n}\n",
  "server/main.c" => "#include <stdio.h>\n#include \"server/one.h\"\nint main(void)\n{\n\tprintf(\"%d\\n\", one() + two());\n\treturn 0;\n}\n",
  "bpf/Kbuild" => "# nothing yet\n",
}.freeze

def in_tree
  Dir.mktmpdir do |root|
    FileUtils.mkdir_p(File.join(root, "tools"))
    FileUtils.cp(File.join(Server::ROOT, "Makefile"), root)
    FileUtils.cp_r(File.join(Server::ROOT, "tools/build"), File.join(root, "tools/build"))
    TREE.each { |path, text| write(root, path, text) }
    yield root
  end
end

# A second later than anything there: make compares times.
def write(root, path, text)
  path = File.join(root, path)
  FileUtils.mkdir_p(File.dirname(path))
  File.write(path, text)
end

# The names after "CC", "LD", ...; flunks when make does.
def make(root, *args, fails: false)
  clean = ENV.keys.grep(/\A(MAKE|MFLAGS|O\z|S\z|V\z|W\z|C\z|T\z)/).to_h { |key| [key, nil] }
  output, status = Open3.capture2e(clean, "make", "-C", root, *args)
  assert_equal !fails, status.success?, output
  output.scan(/^  [A-Z]+ +(\S+)$/).flatten.sort
end

def answer(root, program = "build/hyperion-bpf")
  Open3.capture2(File.join(root, program)).first
end

ALL = %w[hyperion-bpf obj/libcore.a obj/server/main.o obj/server/one.o obj/server/two.o].freeze

test "everything once, then nothing", seconds: 60 do
  in_tree do |root|
    assert_equal ALL, make(root, "-j4")
    assert_equal "3\n", answer(root)
    assert_equal [], make(root)
  end
end

test "a changed header rebuilds those who include it", seconds: 60 do
  in_tree do |root|
    make(root)
    write(root, "server/two.c", "int two(void);\nint two(void)\n{\n\treturn 2;\n}\n")
    make(root)
    write(root, "server/one.h", TREE["server/one.h"].sub("1", "5"))
    assert_equal ALL - ["obj/server/two.o"], make(root)
    assert_equal "7\n", answer(root)
  end
end

test "another command line rebuilds, the same one does not", seconds: 60 do
  in_tree do |root|
    make(root)
    assert_equal ALL, make(root, "CFLAGS=-O1 -DQUOTED='\"a\"'")
    assert_equal [], make(root, "CFLAGS=-O1 -DQUOTED='\"a\"'")
    assert_equal ALL, make(root)
    write(root, "server/Kbuild", "#{TREE["server/Kbuild"]}CFLAGS_two.o := -DX\n")
    assert_equal ALL - %w[obj/server/main.o obj/server/one.o], make(root)
  end
end

test "an object taken off the list leaves the library", seconds: 60 do
  in_tree do |root|
    make(root)
    write(root, "server/one.c", "#{TREE["server/one.c"]}int two(void)\n{\n\treturn 10;\n}\n")
    write(root, "server/Kbuild", TREE["server/Kbuild"].sub(" two.o", ""))
    make(root)
    assert_equal "11\n", answer(root)
  end
end

test "a failed compile is tried again", seconds: 60 do
  in_tree do |root|
    make(root)
    make(root, "-k", "CFLAGS=-DONE=2", fails: true)
    refute File.exist?(File.join(root, "build/obj/server/one.o"))
    make(root, "-k", "CFLAGS=-DONE=2", fails: true)
    make(root)
    assert_equal "3\n", answer(root)
  end
end

test "warnings are errors, unless asked otherwise", seconds: 60 do
  in_tree do |root|
    write(root, "server/one.c", "#{TREE["server/one.c"]}static int unused;\n")
    make(root, fails: true)
    make(root, "WERROR=0")
    assert_equal "3\n", answer(root)
  end
end

test "sanitizers build into a folder of their own", seconds: 60 do
  in_tree do |root|
    make(root)
    assert_equal ALL.map { |f| "asan-ubsan/#{f}" }, make(root, "S=asan,ubsan")
    assert_equal "3\n", answer(root, "build/asan-ubsan/hyperion-bpf")
    assert_include Open3.capture2("nm", File.join(root, "build/asan-ubsan/hyperion-bpf")).first, "__asan_"
    assert_equal [], make(root)
    make(root, "S=nonsense", fails: true)
  end
end

test "O= builds elsewhere, install goes where it is told", seconds: 60 do
  in_tree do |root|
    make(root, "O=#{root}/out", "install", "DESTDIR=#{root}/dest", "PREFIX=/usr")
    assert_equal "3\n", answer(root, "dest/usr/bin/hyperion-bpf")
    refute File.exist?(File.join(root, "build"))
  end
end

BPF_C = <<~C
  #include <linux/bpf.h>
  #include <bpf/bpf_helpers.h>
  #include "bpf/policy.h"
  SEC("sk_reuseport")
  int pick(struct sk_reuseport_md *md)
  {
  \treturn POLICY;
  }
  char LICENSE[] SEC("license") = "GPL";
C
SKEL_C = <<~C
  #include <stdio.h>
  #include "gen/bpf/steer.skel.h"
  int main(void)
  {
  \tstruct steer_bpf *s = steer_bpf__open();
  \tprintf("%d\\n", s != NULL);
  \tsteer_bpf__destroy(s);
  \treturn 0;
  }
C

test "a BPF object becomes a skeleton before C needs it", seconds: 60 do
  in_tree do |root|
    write(root, "bpf/Kbuild", "bpf-y := steer.bpf.o\n")
    write(root, "bpf/policy.h", "#define POLICY SK_PASS\n")
    write(root, "bpf/steer.bpf.c", BPF_C)
    write(root, "server/main.c", SKEL_C)
    write(root, "server/Kbuild", "progs-y := hyperion-bpf\nhyperion-bpf-y := main.o\nhyperion-bpf-libs := -lbpf\n")
    make(root, "-j4")
    assert_equal "1\n", answer(root)
    assert_equal [], make(root)
    write(root, "bpf/policy.h", "#define POLICY SK_DROP\n")
    assert_equal %w[gen/bpf/steer.bpf.o gen/bpf/steer.skel.h hyperion-bpf obj/server/main.o], make(root)
  end
end

RUBY_C = <<~C
  #include <ruby.h>
  #include <ruby/version.h>
  #include "server/one.h"
  int two(void)
  {
  \treturn TWENTY + (ruby_version[0] == '3');
  }
C

test "a folder has flags of its own; Ruby's are at hand", seconds: 60 do
  in_tree do |root|
    write(root, "ruby_glue/Kbuild", "core-y := glue.o\nccflags-y = $(ruby-cflags) -DTWENTY=20\n")
    write(root, "ruby_glue/glue.c", RUBY_C)
    write(root, "server/Kbuild", "#{TREE["server/Kbuild"].sub(" two.o", "")}hyperion-bpf-libs = $(ruby-libs)\n")
    make(root, "-j4")
    assert_equal "22\n", answer(root)
    assert_include Open3.capture2("readelf", "-d", File.join(root, "build/hyperion-bpf")).first, "libruby"
    assert_equal [], make(root)
    refute_match(/ruby/, File.read(File.join(root, "build/obj/server/one.o.cmd")))
  end
end
