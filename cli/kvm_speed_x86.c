/* SPDX-License-Identifier: MIT */
/* The tiny VM that KVM's speed is measured with; see kvm_speed.h. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "kvm_speed.h"

#define PML4		0x1000u
#define PDPT		0x2000u
#define PD		0x3000u

/* dec %ecx; jnz back; out %al, $0x80 */
static const uint8_t loop_code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x80 };

void tiny_native(uint32_t turns)
{
	__asm__ volatile("1: decl %0\n\tjnz 1b" : "+r"(turns) : : "cc");
}

void tiny_prepare(struct tiny_vm *vm)
{
	const uint64_t user_write_present = 7, huge = 0x80;

	*(uint64_t *)(vm->mem + PML4) = PDPT | user_write_present;
	*(uint64_t *)(vm->mem + PDPT) = PD | user_write_present;
	*(uint64_t *)(vm->mem + PD) = 0 | user_write_present | huge;
	memcpy(vm->mem + TINY_CODE, loop_code, sizeof(loop_code));
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);	/* only some processors need it */
}

/* Without a table of features a vCPU may not enter long mode. */
int tiny_init_vcpu(struct tiny_vm *vm)
{
	const uint32_t room = 256;
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + room * sizeof(t->entries[0]));
	int err = 0;

	if (!t)
		return apf_error_set(-ENOMEM, "a test VM could not run: out of memory");
	t->nent = room;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, t) < 0 ||
	    ioctl(vm->vcpu_fd, KVM_SET_CPUID2, t) < 0)
		err = tiny_failed("CPUID");
	free(t);
	return err;
}

int tiny_set_level(struct tiny_vm *vm, bool privileged)
{
	const unsigned int ring = privileged ? 0 : 3;
	struct kvm_segment code = { .limit = 0xffffffff, .selector = (uint16_t)(0x10 | ring),
				    .present = 1, .type = 11, .s = 1, .l = 1, .g = 1,
				    .dpl = (uint8_t)ring };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = (uint16_t)(0x18 | ring),
				    .present = 1, .type = 3, .s = 1, .db = 1, .g = 1,
				    .dpl = (uint8_t)ring };
	struct kvm_sregs s;

	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return tiny_failed("KVM_GET_SREGS");
	s.cr0 = 0x80050033;	/* PE MP ET NE WP AM PG */
	s.cr3 = PML4;
	s.cr4 = 0x20;		/* PAE */
	s.efer = 0x500;		/* LME LMA */
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr.present = 1;
	s.tr.type = 11;
	return ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) < 0 ? tiny_failed("KVM_SET_SREGS") : 0;
}

int tiny_start(struct tiny_vm *vm, uint32_t turns)
{
	const struct kvm_regs regs = { .rip = TINY_CODE, .rcx = turns, .rflags = 0x3002 };	/* IOPL 3 */

	return ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0 ? tiny_failed("KVM_SET_REGS") : 0;
}

bool tiny_is_end(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO;
}
