# SPDX-License-Identifier: MIT
# The way in: each folder's Kbuild lists what to build, tools/build/Makefile.build builds it.
# `make help` says the rest.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables --no-print-directory
SHELL := /bin/bash
.SUFFIXES:
.DELETE_ON_ERROR:

O ?= build
V ?= 0
W ?= 0
C ?= 0
S ?=
WERROR ?= 1
T ?=
K ?=
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 300

comma := ,
B := $(O)$(if $(S),/$(subst $(comma),-,$(S)))

# What needs several passes (first the packages, then the compiler) runs them as makes of their own.
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
again = $(MAKE) $(jobs)

.PHONY: all progs tests help deps deps-bench deps-check run test test-vm fuzz gates layers \
	format format-check install uninstall clean FORCE
all: progs

# Goals that compile nothing must work on a machine without a compiler.
no-build := help deps deps-bench deps-check run test test-vm fuzz gates layers format \
	format-check uninstall clean
ifneq ($(filter-out $(no-build),$(or $(MAKECMDGOALS),all)),)
include tools/build/Makefile.build
endif

help:
	@cat tools/build/help.txt

deps:
	@tools/deps tools/build/packages.txt
deps-bench: deps
	@tools/deps tools/build/packages-bench.txt
deps-check:
	@tools/deps --check tools/build/packages.txt

run:
	@$(MAKE) deps
	@$(again) progs
	exec $(B)/hyperion-bpf -p 9292 examples/hello/config.ru

# T= picks folders or programs: make test T="unit io/loop"
test:
	@$(MAKE) deps
	@$(again) progs tests
	@$(again) S=asan,ubsan tests
	@selftests/run -b $(O) -b $(O)/asan-ubsan $(T)

# Some of them on Debian's kernels, emulated; T= as above, K=6.1 only this kernel.
test-vm:
	@$(MAKE) deps
	@$(again) progs tests
	@selftests/vm/run $(addprefix -k ,$(K)) $(T)

# Each harness for FUZZ_SECONDS; what it learns goes to the build folder, not into the tree.
fuzz:
	@$(MAKE) deps
	@$(again) CC=clang S=fuzzer,asan,ubsan tests
	@tools/build/fuzz $(O)/fuzzer-asan-ubsan $(FUZZ_SECONDS) $(T)

gates:
	@$(MAKE) deps-bench
	@$(again) progs
	@bench/gates/run

layers:
	@tools/layers

sources = $(shell find $(wildcard server bpf ruby_glue ktls tools selftests bench) -name '*.[ch]')
clang-format = $(firstword $(shell command -v clang-format-14 clang-format))
format:
	@$(clang-format) -i $(sources)
format-check:
	@$(clang-format) --dry-run -Werror $(sources)

docs = $(wildcard README.md ARCHITECTURE.md LICENSE docs/*.md)
completions = $(wildcard tools/completion/*)
completion-folder = $(PREFIX)/share/bash-completion/completions
install: progs
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/hyperion-bpf
	install -m 755 $(installed) $(DESTDIR)$(PREFIX)/bin/
	$(if $(completions),install -d $(DESTDIR)$(completion-folder) && \
		install -m 644 $(completions) $(DESTDIR)$(completion-folder)/)
	$(if $(docs),install -m 644 $(docs) $(DESTDIR)$(PREFIX)/share/doc/hyperion-bpf/)
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,hyperion-bpf hyperion-top hyperion-ctl)
	rm -f $(DESTDIR)$(completion-folder)/hyperion-ctl
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/hyperion-bpf

clean:
	rm -rf $(O)
