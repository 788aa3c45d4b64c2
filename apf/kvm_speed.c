/* SPDX-License-Identifier: MIT */
/*
 * How fast this KVM runs guest code: the same loop in ring 0 and ring 3 of a tiny VM, and
 * here. A para-virtual KVM runs ring 3 at full speed and emulates ring 0, which is
 * too slow for a Linux guest.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apf/error.h>

#include "cli.h"

#define MEM_SIZE	0x10000u
#define PML4		0x1000u
#define PDPT		0x2000u
#define PD		0x3000u
#define CODE		0x8000u
#define LONG_ENOUGH_NS	4000000u
#define TURNS_MAX	(1u << 30)
#define TRIES		3

/* dec %ecx; jnz back; out %al, $0x80 */
static const uint8_t loop_code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x80 };

struct tiny_vm {
	int vm_fd, vcpu_fd;
	size_t run_size;
	struct kvm_run *run;
	uint8_t *mem;
};

static int failed_call(const char *what)
{
	const int err = errno;

	return apf_error_set(-err, "a test VM could not run: %s: %s", what, strerror(err));
}

static int turn_native(struct tiny_vm *vm, uint32_t turns)
{
	__asm__ volatile("1: decl %0\n\tjnz 1b" : "+r"(turns) : : "cc");
	return 0;
}

static int turn_guest(struct tiny_vm *vm, uint32_t turns)
{
	struct kvm_regs regs = { .rip = CODE, .rcx = turns, .rflags = 0x3002 };	/* IOPL 3 */

	if (ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0 || ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0)
		return failed_call("KVM_RUN");
	if (vm->run->exit_reason != KVM_EXIT_IO)
		return apf_error_set(-EIO, "a test loop in a VM ended with exit %u",
				     vm->run->exit_reason);
	vm->run->immediate_exit = 1;	/* complete the port write without running on */
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

static int set_ring(struct tiny_vm *vm, unsigned int ring)
{
	struct kvm_segment code = { .limit = 0xffffffff, .selector = (uint16_t)(0x10 | ring),
				    .present = 1, .type = 11, .s = 1, .l = 1, .g = 1,
				    .dpl = (uint8_t)ring };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = (uint16_t)(0x18 | ring),
				    .present = 1, .type = 3, .s = 1, .db = 1, .g = 1,
				    .dpl = (uint8_t)ring };
	struct kvm_sregs s;

	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return failed_call("KVM_GET_SREGS");
	s.cr0 = 0x80050033;	/* PE MP ET NE WP AM PG */
	s.cr3 = PML4;
	s.cr4 = 0x20;		/* PAE */
	s.efer = 0x500;		/* LME LMA */
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr.present = 1;
	s.tr.type = 11;
	return ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) < 0 ? failed_call("KVM_SET_SREGS") : 0;
}

static void fill_memory(struct tiny_vm *vm)
{
	const uint64_t user_write_present = 7, huge = 0x80;

	*(uint64_t *)(vm->mem + PML4) = PDPT | user_write_present;
	*(uint64_t *)(vm->mem + PDPT) = PD | user_write_present;
	*(uint64_t *)(vm->mem + PD) = 0 | user_write_present | huge;
	memcpy(vm->mem + CODE, loop_code, sizeof(loop_code));
}

/* Without a table of features a vCPU may not enter long mode. */
static int set_cpuid(struct tiny_vm *vm, int kvm_fd)
{
	const uint32_t room = 256;
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + room * sizeof(t->entries[0]));
	int err = 0;

	if (!t)
		return -ENOMEM;
	t->nent = room;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, t) < 0 ||
	    ioctl(vm->vcpu_fd, KVM_SET_CPUID2, t) < 0)
		err = failed_call("CPUID");
	free(t);
	return err;
}

static int open_vm(struct tiny_vm *vm, int kvm_fd)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEM_SIZE };
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	vm->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0 || size < 0)
		return failed_call("KVM_CREATE_VM");
	vm->run_size = (size_t)size;
	vm->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->mem == MAP_FAILED)
		return failed_call("mmap");
	fill_memory(vm);
	slot.userspace_addr = (uintptr_t)vm->mem;
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);	/* only some processors need it */
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return failed_call("KVM_SET_USER_MEMORY_REGION");
	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0ul);
	if (vm->vcpu_fd < 0)
		return failed_call("KVM_CREATE_VCPU");
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	return vm->run == MAP_FAILED ? failed_call("mmap of a vCPU") : set_cpuid(vm, kvm_fd);
}

static void close_vm(struct tiny_vm *vm)
{
	if (vm->run != MAP_FAILED)
		munmap(vm->run, vm->run_size);
	if (vm->mem != MAP_FAILED)
		munmap(vm->mem, MEM_SIZE);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
}

int kvm_speed(int kvm_fd, struct kvm_speed *s)
{
	struct tiny_vm vm = { -1, -1, 0, MAP_FAILED, MAP_FAILED };
	int err = open_vm(&vm, kvm_fd);

	if (!err)
		err = measure(&vm, turn_native, &s->ns_native);
	if (!err)
		err = set_ring(&vm, 0);
	if (!err)
		err = measure(&vm, turn_guest, &s->ns_ring0);
	if (!err)
		err = set_ring(&vm, 3);
	if (!err)
		err = measure(&vm, turn_guest, &s->ns_ring3);
	close_vm(&vm);
	return err;
}
