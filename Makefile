# SPDX-License-Identifier: MIT
# The front door; everything is built by meson in build/.
#   make run    boots a Debian guest and restores it lazily in three modes; ends with a table,
#               a picture and build/run.json. HOST=lab or HOST=kvm: not where it would by itself;
#               on a KVM that is too slow for Linux, HOST=kvm takes libapf's test kernel
#   make test   every test; ends with "N passed, N failed, N skipped"
#   make clean  removes what was built, but keeps the downloaded kernels

N = 64
LATENCY = 20ms
MEM = 256M
CPUS =
PAGES =
GUEST =
HOST =
SLICE = 100

.PHONY: all run test setup build clean
all: build

setup:
	@lab/setup

build: setup
	@[ -f build/build.ninja ] || { echo "== configuring"; meson setup build; }
	@echo "== building"
	@ninja -C build -j 2

run: build
	@echo "== running"
	@lab/job N=$(N) LATENCY=$(LATENCY) MEM=$(MEM) CPUS=$(CPUS) PAGES=$(PAGES) GUEST=$(GUEST) \
		HOST=$(HOST) SLICE=$(SLICE)

test: build
	@echo "== testing"
	@tests/run

clean:
	@[ ! -d build ] || find build -mindepth 1 ! -path build/lab ! -path 'build/lab/kernels*' -delete
	@rm -rf build-asan build-tsan build-fuzz
