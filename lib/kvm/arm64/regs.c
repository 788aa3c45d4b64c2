/* SPDX-License-Identifier: MIT */
/* arm64: one vCPU's state at a fault, the injection of an abort, the ready interrupt. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_arm64.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/arm64/arm64.h"

#define REG_PC		CORE_REG(pc)
#define REG_PSTATE	CORE_REG(pstate)
#define REG_ESR_EL1	ARM64_SYS_REG(3, 0, 5, 2, 0)
#define REG_FAR_EL1	ARM64_SYS_REG(3, 0, 6, 0, 0)

#define PSTATE_I	(1ull << 7)
#define PSTATE_LEVEL	0xfull		/* 0: EL0, AArch32's user mode too */
#define PSTATE_32	(1ull << 4)

/* There is no halted state; this one is user space's alone and ends as told in apf_arch_exit. */
const uint32_t apf_arch_halted = KVM_MP_STATE_SUSPENDED;

/*
 * The kernel of a vCPU with KVM_ARM_VCPU_EL1_32BIT takes an abort in AArch32, with a syndrome
 * of its own kind (A12): it would find no notification in ours. KVM_ARM_VCPU_INIT leaves such a
 * vCPU in an AArch32 mode above user mode, which another cannot be in.
 */
static int check_el1(struct apf_kvm_vcpu *v)
{
	uint64_t pstate;
	int err = apf_arm64_get_reg(v, REG_PSTATE, &pstate);

	if (err)
		return apf_error_set(err, "vcpu %u: cannot read PSTATE (KVM_ARM_VCPU_INIT comes "
				     "first): %s", v->id, strerror(-err));
	if (!(pstate & PSTATE_32) || !(pstate & PSTATE_LEVEL))
		return 0;
	return apf_error_set(-EOPNOTSUPP, "kvm: vCPU %u runs its kernel in AArch32 "
			     "(KVM_ARM_VCPU_EL1_32BIT); notifications are AArch64's", v->id);
}

int apf_arch_vcpu_init(struct apf_kvm_vcpu *v)
{
	if (v->id > 255 && ioctl(v->k->cfg.vm_fd, KVM_CHECK_EXTENSION,
				 KVM_CAP_ARM_IRQ_LINE_LAYOUT_2) <= 0)
		return apf_error_set(-EINVAL, "kvm: vCPU id %u needs KVM_CAP_ARM_IRQ_LINE_LAYOUT_2",
				     v->id);
	return v->k->cfg.delivery == APF_DELIVERY_USER ? check_el1(v) : 0;
}

bool apf_arch_has_lapic(const struct apf_kvm_vcpu *v)
{
	return false;
}

/* What KVM before Linux 6.0 lacks is found out for the VM. */
bool apf_arch_may_halt(const struct apf_kvm_vcpu *v)
{
	return true;
}

int apf_arm64_get_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)value };

	return ioctl(v->fd, KVM_GET_ONE_REG, &r) < 0 ? -errno : 0;
}

int apf_arm64_set_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t value)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(v->fd, KVM_SET_ONE_REG, &r) < 0 ? -errno : 0;
}

/*
 * An abort that was injected shows neither in KVM's events nor, before the next run, in
 * PSTATE. Interrupt shadow, paging and the rest do not matter here (C14 is x86's).
 */
int apf_arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc)
{
	uint64_t pstate;
	int err = apf_arm64_get_reg(v, REG_PSTATE, &pstate);

	if (!err)
		err = apf_arm64_get_reg(v, REG_PC, pc);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot read registers: %s", v->id,
				     strerror(-err));
	f->user = !(pstate & PSTATE_LEVEL);
	f->irqs_on = !(pstate & PSTATE_I);
	f->event = v->doing == NOTIFIED;
	f->paging = true;
	f->pc = *pc;
	return 0;
}

int apf_arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc)
{
	return apf_arm64_get_reg(v, REG_PC, pc);
}

/*
 * KVM works out the vector and the saved state, of AArch32 tasks too. It writes the
 * syndrome and the address at once, so ours go over them (A5, A12). No SError changes
 * hands: one that is pending stays so when it is not named.
 */
int apf_arch_inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	struct kvm_vcpu_events ev = { .exception.ext_dabt_pending = 1 };
	uint64_t pstate;
	int err = apf_arm64_get_reg(v, REG_PSTATE, &pstate);

	if (!err && ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		err = -errno;
	if (!err)
		err = apf_arm64_set_reg(v, REG_FAR_EL1, token);
	if (!err)
		err = apf_arm64_set_reg(v, REG_ESR_EL1, pstate & PSTATE_LEVEL ? APF_ARM64_ESR_EL1
								    : APF_ARM64_ESR_EL0);
	return err;
}

static int set_line(struct apf_kvm_vcpu *v, uint8_t ppi, bool level)
{
	struct kvm_irq_level l = {
		.irq = v->id >> 8 << KVM_ARM_IRQ_VCPU2_SHIFT |
		       KVM_ARM_IRQ_TYPE_PPI << KVM_ARM_IRQ_TYPE_SHIFT |
		       (v->id & 0xff) << KVM_ARM_IRQ_VCPU_SHIFT | ppi,
		.level = level,
	};

	return ioctl(v->k->cfg.vm_fd, KVM_IRQ_LINE, &l);
}

int apf_arch_raise(struct apf_kvm_vcpu *v, uint8_t ppi)
{
	return set_line(v, ppi, true) == 0;
}

void apf_arch_lower(struct apf_kvm_vcpu *v, uint8_t ppi)
{
	set_line(v, ppi, false);
}
