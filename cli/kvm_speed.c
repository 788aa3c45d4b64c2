/* SPDX-License-Identifier: MIT */
/*
 * How fast this KVM runs guest code: the same loop in privileged and user code of a tiny
 * VM, and here. A para-virtual KVM runs user code at full speed and emulates the
 * rest, which is too slow for a Linux guest.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apf/error.h>

#include "cli.h"
#include "kvm_speed.h"

#define LONG_ENOUGH_NS	4000000u
#define TURNS_MAX	(1u << 30)
#define TRIES		3

int tiny_failed(const char *what)
{
	const int err = errno;

	return apf_error_set(-err, "a test VM could not run: %s: %s", what, strerror(err));
}

static int turn_native(struct tiny_vm *vm, uint32_t turns)
{
	tiny_native(turns);
	return 0;
}

static int turn_guest(struct tiny_vm *vm, uint32_t turns)
{
	int err = tiny_start(vm, turns);

	if (err)
		return err;
	if (ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0)
		return tiny_failed("KVM_RUN");
	if (!tiny_is_end(vm->run))
		return apf_error_set(-EIO, "a test loop in a VM ended with exit %u",
				     vm->run->exit_reason);
	vm->run->immediate_exit = 1;	/* complete the write without running on */
	ioctl(vm->vcpu_fd, KVM_RUN, 0);
	vm->run->immediate_exit = 0;
	return 0;
}

/* ns of one turn: the shortest of some tries that are long enough to measure. */
static int measure(struct tiny_vm *vm, int (*turn)(struct tiny_vm *, uint32_t), double *ns)
{
	uint64_t best = UINT64_MAX, took = 0;
	uint32_t turns = 1000;
	int tries = 0, err = 0;

	while (!err && tries < TRIES) {
		uint64_t start = vmm_now_ns();

		err = turn(vm, turns);
		took = vmm_now_ns() - start;
		if (took < LONG_ENOUGH_NS && turns < TURNS_MAX) {
			turns *= 2;
			continue;
		}
		best = took < best ? took : best;
		tries++;
	}
	*ns = (double)best / turns;
	return err;
}

static int open_vm(struct tiny_vm *vm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = TINY_MEM };
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, vmm_machine_vm_type(vm->kvm_fd));
	if (vm->vm_fd < 0 || size < 0)
		return tiny_failed("KVM_CREATE_VM");
	vm->run_size = (size_t)size;
	vm->mem = mmap(NULL, TINY_MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->mem == MAP_FAILED)
		return tiny_failed("mmap");
	tiny_prepare(vm);
	slot.userspace_addr = (uintptr_t)vm->mem;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return tiny_failed("KVM_SET_USER_MEMORY_REGION");
	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0ul);
	if (vm->vcpu_fd < 0)
		return tiny_failed("KVM_CREATE_VCPU");
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	return vm->run == MAP_FAILED ? tiny_failed("mmap of a vCPU") : tiny_init_vcpu(vm);
}

static void close_vm(struct tiny_vm *vm)
{
	if (vm->run != MAP_FAILED)
		munmap(vm->run, vm->run_size);
	if (vm->mem != MAP_FAILED)
		munmap(vm->mem, TINY_MEM);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
}

int kvm_speed(int kvm_fd, struct kvm_speed *s)
{
	struct tiny_vm vm = { kvm_fd, -1, -1, 0, MAP_FAILED, MAP_FAILED };
	int err = open_vm(&vm);

	if (!err)
		err = measure(&vm, turn_native, &s->ns_native);
	if (!err)
		err = tiny_set_level(&vm, true);
	if (!err)
		err = measure(&vm, turn_guest, &s->ns_ring0);
	if (!err)
		err = tiny_set_level(&vm, false);
	if (!err)
		err = measure(&vm, turn_guest, &s->ns_ring3);
	close_vm(&vm);
	return err;
}
