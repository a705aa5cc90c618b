# The front door: every command installs what it is missing, configures, builds and runs. CMake does the
# work behind it (CMakePresets.json names the configurations), so each of them can be called by hand too.
#
## make demo [CONNECTIONS=100000]  holds that many live connections and reports what they cost
## make test                       builds and runs every test
## make build                      builds the program at build/roost
## make bench                      compares roost with a hand-written epoll loop and with Go, if it is there, and measures
##                                 what 100,000 waiting connections cost
## make asan, make tsan            the tests under AddressSanitizer + UBSan, under ThreadSanitizer
## make clang                      the tests built by Clang 19, with its thread-safety analysis
## make install [PREFIX=/usr/local] [DESTDIR=]
## make test-install               installs into a scratch directory and builds a user's project against it
## make setup                      only installs the Debian packages of scripts/packages.txt
## make clean                      removes build/
##
## WEB=OFF leaves the charts of reports and pages out, for a machine that reaches no npm registry. TOOLS=OFF keeps
## asan, tsan and clang to the library and its tests. Either counts when a configuration is built for the first time.
## JOBS=N bounds the compilers run at once (default: one a core), TEST_JOBS=N the tests (default: 2). CTEST_ARGS chooses
## among the tests, e.g. CTEST_ARGS='-L sync': those in src/sync.

# Bare `make` explains itself: building can install packages, and nobody has asked for that yet.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

CONNECTIONS ?= 100000
export WEB ?= ON
TOOLS ?= ON
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
# Tests open real sockets and watch the clock; more of them at once gains little and disturbs timing.
TEST_JOBS ?= 2
CTEST_ARGS ?=

build_tree = cmake --build --preset $(1) --parallel $(JOBS)
# Once more where a test fails, and the second time counts: many of them watch clocks and real processes, and a machine that
# other work starves for seconds fails some. Whoever looks into a failure finds both runs in build/Testing/Temporary.
run_tests = ctest --preset $(1) --parallel $(TEST_JOBS) --no-tests=error --repeat until-pass:2 $(CTEST_ARGS)

.PHONY: help
help:
	@sed -n 's/^## \{0,1\}//p' Makefile

.PHONY: setup
setup:
	@scripts/setup

# Configuring once is enough: Ninja runs CMake again by itself when a CMake file changes, but does not
# know of the presets. CMake may leave an unchanged build.ninja alone, hence the touch.
build/build.ninja: CMakePresets.json | setup
	cmake --preset release -DROOST_WEB=$(WEB)
	@touch $@

build/%/build.ninja: CMakePresets.json | setup
	cmake --preset $* -DROOST_WEB=$(WEB) -DROOST_BUILD_TOOLS=$(TOOLS) -DROOST_BUILD_EXAMPLES=$(TOOLS)
	@touch $@

# Only the program and the rooms below it: who wants a demo does not wait for the tests to compile.
.PHONY: build
build: build/build.ninja
	@$(call build_tree,release) --target roost

.PHONY: demo
demo: build
	@CONNECTIONS='$(CONNECTIONS)' scripts/demo

.PHONY: test
test: build/build.ninja
	$(call build_tree,release)
	$(call run_tests,release)

.PHONY: bench
bench: setup
	@scripts/bench

# A use after return hides in a fiber's stack unless fake stacks are on.
.PHONY: asan
asan: export ASAN_OPTIONS ?= detect_stack_use_after_return=1:strict_string_checks=1
asan: export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
asan: build/asan/build.ninja
	$(call build_tree,asan)
	$(call run_tests,asan)

# GCC 12's ThreadSanitizer cannot place its shadow where the kernel spreads mappings widely
# (vm.mmap_rnd_bits above 28), so the tests run without address randomisation where that may be switched off.
.PHONY: tsan
tsan: export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1
tsan: build/tsan/build.ninja
	$(call build_tree,tsan)
	$$(setarch -R true 2>/dev/null && echo setarch -R) $(call run_tests,tsan)

.PHONY: setup-clang
setup-clang:
	@scripts/setup clang-19

.PHONY: clang
clang: setup-clang build/clang/build.ninja
	$(call build_tree,clang)
	$(call run_tests,clang)

build/clang/build.ninja: | setup-clang

.PHONY: install
install: build/build.ninja
	$(call build_tree,release)
	cmake --install build --prefix '$(PREFIX)'

.PHONY: test-install
test-install: build/build.ninja
	$(call build_tree,release)
	scripts/test-install build

.PHONY: clean
clean:
	rm -rf build
