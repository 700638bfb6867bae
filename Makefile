# `make` builds build/release/gneiss; `make help` lists the rest. V=1 shows every command, JOBS=N bounds jobs.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
export V JOBS

.DEFAULT_GOAL := release
.PHONY: release deps bench demo test torture fuzz asan tsan cuda format check-format tidy ci clean help

release:  ## build the program: build/release/gneiss
	@bash .ci/build release gneiss

deps:  ## install what is missing to build (apt; uses sudo when not root)
	@bash .ci/deps build

demo: deps  ## generate a graph, prepare it and train on it from disk, in a few minutes
	@bash .ci/build release gneiss
	@bash tools/demo.sh build/release/gneiss build/demo

bench: deps  ## build all, the programs that bench/ runs among it
	@bash .ci/build release

test: deps  ## build and run every test
	@bash .ci/test release

torture: deps  ## kills, faults and power cuts at every operation, ten thousand damages, random settings: hours
	@GNEISS_TORTURE=1 TARGET=torture_tests bash .ci/test release -L torture
	@bash .ci/fuzz 60

fuzz: deps  ## every parser against hostile files, ten seconds each (libFuzzer)
	@bash .ci/fuzz 10

asan: deps  ## the tests with address and undefined-behaviour sanitizers, and which lines they reach
	@bash .ci/deps sanitize
	@rm -rf build/asan/coverage
	@TARGET=sanitized_tests LLVM_PROFILE_FILE=$(CURDIR)/build/asan/coverage/%4m.profraw bash .ci/test asan -LE release_only
	@bash .ci/coverage asan

tsan: deps  ## the tests with the thread sanitizer
	@bash .ci/deps sanitize
	@TARGET=threaded_tests bash .ci/test tsan -L threads

cuda: deps  ## the tests with the CUDA backend, or an error without nvcc
	@bash .ci/test cuda

format:  ## bring every source into its format (clang-format-19)
	@bash .ci/format

check-format:  ## say which sources are not in their format
	@bash .ci/format --check

tidy:  ## static analysis (clang-tidy-19) of what changed since it last passed
	@bash .ci/tidy

ci:  ## all that continuous integration runs
	@bash .ci/run

clean:  ## remove build/
	@rm -rf build

help:
	@sed -n 's/^\([a-z-]*\):.*## */\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do \
	  printf '  make %-13s %s\n' "$$name" "$$text"; done
