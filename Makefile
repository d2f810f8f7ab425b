# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` set up all that they need; a second run finds it done.

PYTHON ?= python3
CLANG ?= clang
LLVM_STRIP ?= llvm-strip

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.SUFFIXES:

venv := .venv/bin
step := @tools/step

bpf_flags := -O2 -g -target bpf -mcpu=v3 -Wall -Werror -D__TARGET_ARCH_x86 -Ibpf
bpf_objects := $(patsubst bpf/%.bpf.c,observer/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
c_files = $(shell find . -name '*.[ch]' -not -path './.venv/*' -not -path './build/*')
guest_sources := $(shell find observer/guests -type f -not -name '*.pyc')
bash_files = $(shell grep -rlIE '^#!.*\bbash' .ci tools observer)
busybox_files = $(shell grep -rlIE '^#!/bin/busybox sh' observer)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: ready ## Watch live VMs, break them in nine ways, see what was noticed (5 min)
	@$(venv)/observer demo

.PHONY: test
test: check ready ## Run every check and every test, on this machine and in nested hosts (60 min)
	@$(venv)/python tools/run_tiers.py

.PHONY: bench
bench: ready ## Judge recordings; compare the cost per VM exit with perf, bpftrace and kvm_stat
	@$(venv)/observer bench --replay
	@$(venv)/observer bench

.PHONY: check
check: build/stamps/venv ## Lint, format and types
	$(step) "ruff check" $(venv)/ruff check
	$(step) "ruff format" $(venv)/ruff format --check
	$(step) "mypy" $(venv)/mypy
	$(step) "clang-format" $(venv)/clang-format --dry-run -Werror $(c_files)
	$(step) "shellcheck, bash" shellcheck $(bash_files)
	$(step) "shellcheck, busybox" shellcheck --severity=warning -s dash $(busybox_files)
	$(step) "codespell" $(venv)/codespell

.PHONY: bpf
bpf: build/stamps/packages ## Build the BPF objects
	@$(MAKE) objects

# Packages are not looked at here: also a wheel's build comes this way.
.PHONY: objects
objects: $(bpf_objects)
	@:

observer/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p observer/bpf build/bpf
	$(step) "bpf $*" sh -ec '$(CLANG) $(bpf_flags) -MMD -MP -MT $@ -MF build/bpf/$*.d -c $< -o $@ && $(LLVM_STRIP) -g $@'

-include $(wildcard build/bpf/*.d)

# What observers in Linux guests are made of: nothing that a guest would have to have.
agent_flags := -std=gnu11 -O2 -static -pthread -Wall -Wextra -Werror -Iexperiments/include \
	-Iunikernels/include
agents := $(patsubst experiments/%.c,build/experiments/%,$(wildcard experiments/*/*.c))

.PHONY: agents
agents: build/stamps/packages ## Build what runs inside of guests for the designs compared
	@$(MAKE) $(agents)

build/experiments/%: experiments/%.c $(wildcard experiments/include/*.h) \
		unikernels/include/guest_abi.h Makefile
	@mkdir -p $(@D)
	$(step) "agent $(*F)" gcc $(agent_flags) $(filter %.c %.S,$^) -o $@

build/experiments/scale/tiny_vmm: $(wildcard experiments/scale/parts/*)

.PHONY: ready
ready: build/stamps/venv bpf guests unikernels agents

.PHONY: unikernels
unikernels: build/stamps/packages ## Build the service VMs
	$(step) "unikernels" $(MAKE) -C unikernels

.PHONY: guests
guests: build/stamps/guests ## Build the guests of demo and tests

build/stamps/guests: $(guest_sources) build/stamps/kernels
	$(step) "guests" $(venv)/observer guest build
	@touch $@

build/stamps/kernels: observer/testbed/kernel.py observer/testbed/emulator.py observer/testbed/unpacked.py build/stamps/venv
	$(step) "nested host" $(venv)/observer testbed fetch
	@touch $@

build/stamps/packages: tools/debian-packages tools/install-packages
	$(step) "Debian packages" tools/install-packages tools/debian-packages
	@mkdir -p $(@D) && touch $@

build/stamps/venv: pyproject.toml tools/make-venv build/stamps/packages
	$(step) "Python environment" tools/make-venv $(PYTHON)
	@mkdir -p $(@D) && touch $@

.PHONY: fuzz
fuzz: build/stamps/packages ## Feed the service VMs' parsers and rings with nonsense (10 min)
	@$(MAKE) -C unikernels fuzz

.PHONY: clean
clean: ## Remove all that was built
	rm -rf build .venv observer/bpf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
