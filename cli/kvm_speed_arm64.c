/* SPDX-License-Identifier: MIT */
/* The tiny VM that KVM's speed is measured with; see kvm_speed.h. */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_speed.h"

#define DEVICE		0x10000000ull	/* no memory is here, so that a write leaves the guest */
#define CORE(field)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(field))
#define SCTLR_EL1	ARM64_SYS_REG(3, 0, 1, 0, 0)
#define SCTLR_I		(1ull << 12)	/* instructions are cached; the MMU is off */
#define PSTATE_EL0	0x3c0ull	/* D, A, I and F are masked */
#define PSTATE_EL1	0x3c5ull

/* subs w0, w0, #1; b.ne back; str w0, [x1] */
static const uint32_t loop_code[] = { 0x71000400, 0x54ffffe1, 0xb9000020 };

void tiny_native(uint32_t turns)
{
	__asm__ volatile("1: subs %w0, %w0, #1\n\tb.ne 1b" : "+r"(turns) : : "cc");
}

void tiny_prepare(struct tiny_vm *vm)
{
	memcpy(vm->mem + TINY_CODE, loop_code, sizeof(loop_code));
}

static int set_reg(struct tiny_vm *vm, uint64_t id, uint64_t value)
{
	const struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(vm->vcpu_fd, KVM_SET_ONE_REG, &r) < 0 ? tiny_failed("KVM_SET_ONE_REG") : 0;
}

int tiny_init_vcpu(struct tiny_vm *vm)
{
	struct kvm_one_reg r = { .id = SCTLR_EL1 };
	struct kvm_vcpu_init init;
	uint64_t sctlr;

	if (ioctl(vm->vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0 ||
	    ioctl(vm->vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return tiny_failed("KVM_ARM_VCPU_INIT");
	r.addr = (uintptr_t)&sctlr;
	if (ioctl(vm->vcpu_fd, KVM_GET_ONE_REG, &r) < 0)
		return tiny_failed("KVM_GET_ONE_REG");
	return set_reg(vm, SCTLR_EL1, sctlr | SCTLR_I);
}

int tiny_set_level(struct tiny_vm *vm, bool privileged)
{
	return set_reg(vm, CORE(regs.pstate), privileged ? PSTATE_EL1 : PSTATE_EL0);
}

int tiny_start(struct tiny_vm *vm, uint32_t turns)
{
	int err = set_reg(vm, CORE(regs.pc), TINY_CODE);

	if (!err)
		err = set_reg(vm, CORE(regs.regs[0]), turns);
	return err ? err : set_reg(vm, CORE(regs.regs[1]), DEVICE);
}

bool tiny_is_end(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == DEVICE;
}
