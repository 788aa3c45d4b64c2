# SPDX-License-Identifier: MIT
# The front door; everything is built by meson in build/.
#   make run    boots a guest and restores it lazily in three modes; ends with a table, a picture
#               and build/run.json. The guest is Debian; libapf's test kernel where this machine's KVM
#               is too slow for Linux. HOST=lab or HOST=kvm: not where it would by itself;
#               with HOST=lab HOSTKERNEL=newest the lab's own kernel is Debian's newest
#   make run ARCH=arm64   the same with an arm64 guest (the test kernel), built in build-arm64/; on an
#               arm64 machine ARCH is not needed
#   make check  for daily work, at most 5 minutes: build, unit tests, a short fuzz, one guest in the lab
#   make test   every test; ends with "N passed, N failed, N skipped"
#   make clean  removes what was built, but keeps what was downloaded

N = 64
LATENCY = 20ms
MEM = 256M
CPUS =
PAGES =
ARCH =
GUEST =
HOST =
HOSTKERNEL =
SLICE = 0

# Empty, or the architecture to build for when it is not this machine's.
CROSS = $(filter-out $(if $(filter aarch64,$(shell uname -m)),arm64,x86),$(ARCH))
BUILD = build$(CROSS:%=-%)
$(if $(filter-out arm64,$(CROSS)),$(error ARCH=$(ARCH): guests here are arm64 ones, or this machine's kind))

.PHONY: all run check test setup build clean
all: build

setup:
	@lab/setup

build: setup
	@[ -f $(BUILD)/build.ninja ] || { echo "== configuring"; \
		meson setup $(BUILD) $(if $(CROSS),--cross-file "$$(lab/sysroot)/../cross.ini"); }
	@echo "== building"
	@ninja -C $(BUILD) -j 2

run: build
	@echo "== running"
	@lab/job N=$(N) LATENCY=$(LATENCY) MEM=$(MEM) CPUS=$(CPUS) PAGES=$(PAGES) ARCH=$(ARCH) \
		GUEST=$(GUEST) HOST=$(HOST) HOSTKERNEL=$(HOSTKERNEL) SLICE=$(SLICE)

check: build
	@echo "== checking"
	@tests/run --check

test: build
	@echo "== testing"
	@tests/run

clean:
	@[ ! -d build ] || find build -mindepth 1 ! -path build/lab ! -path 'build/lab/kernels*' \
		! -path 'build/lab/a*' -delete
	@rm -rf build-arm64 build-asan build-tsan build-fuzz
