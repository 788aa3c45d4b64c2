/* SPDX-License-Identifier: MIT */
/*
 * arm64: one vCPU's state at a fault, the injection of an abort, the ready interrupt,
 * and the guest's calls.
 */
#include <errno.h>
#include <linux/psci.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_arm64.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/compat.h"

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(regs.name))
#define REG_X(n)	(CORE_REG(regs[0]) + 2 * (n))	/* counted in 32-bit words */
#define REG_PC		CORE_REG(pc)
#define REG_PSTATE	CORE_REG(pstate)
#define REG_ESR_EL1	ARM64_SYS_REG(3, 0, 5, 2, 0)
#define REG_FAR_EL1	ARM64_SYS_REG(3, 0, 6, 0, 0)

/* The vendor-hypervisor functions that KVM offers; words 0 and 2 of its features call. */
#define REG_VENDOR_HYP		KVM_REG_ARM_FW_FEAT_BMAP_REG(2)
#define REG_VENDOR_HYP_2	KVM_REG_ARM_FW_FEAT_BMAP_REG(3)
#define VENDOR_HYP_FEATURES	(1ull << 0)	/* the features call itself */

#define PSTATE_I	(1ull << 7)
#define PSTATE_LEVEL	0xfull		/* 0: EL0, AArch32's user mode too */

/* There is no halted state; this one is user space's alone and ends as told in arch_exit. */
const uint32_t arch_halted = KVM_MP_STATE_SUSPENDED;

int arch_vcpu_init(struct apf_kvm_vcpu *v)
{
	if (v->id > 255 && ioctl(v->k->cfg.vm_fd, KVM_CHECK_EXTENSION,
				 KVM_CAP_ARM_IRQ_LINE_LAYOUT_2) <= 0)
		return apf_error_set(-EINVAL, "kvm: vCPU id %u needs KVM_CAP_ARM_IRQ_LINE_LAYOUT_2",
				     v->id);
	return 0;
}

static int get_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)value };

	return ioctl(v->fd, KVM_GET_ONE_REG, &r) < 0 ? -errno : 0;
}

static int set_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t value)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(v->fd, KVM_SET_ONE_REG, &r) < 0 ? -errno : 0;
}

/*
 * An abort that was injected shows neither in KVM's events nor, before the next run, in
 * PSTATE. Interrupt shadow, paging and the rest do not matter here (C14 is x86's).
 */
int arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc)
{
	uint64_t pstate;
	int err = get_reg(v, REG_PSTATE, &pstate);

	if (!err)
		err = get_reg(v, REG_PC, pc);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot read registers: %s", v->id,
				     strerror(-err));
	f->user = !(pstate & PSTATE_LEVEL);
	f->irqs_on = !(pstate & PSTATE_I);
	f->event = v->injected;
	f->paging = true;
	f->pc = *pc;
	return 0;
}

int arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc)
{
	return get_reg(v, REG_PC, pc);
}

/*
 * KVM works out the vector and the saved state, of AArch32 tasks too. It writes the
 * syndrome and the address at once, so ours go over them (A5, A12). No SError changes
 * hands: one that is pending stays so when it is not named.
 */
int arch_inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	struct kvm_vcpu_events ev = { .exception.ext_dabt_pending = 1 };
	uint64_t pstate;
	int err = get_reg(v, REG_PSTATE, &pstate);

	if (!err && ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		err = -errno;
	if (!err)
		err = set_reg(v, REG_FAR_EL1, token);
	if (!err)
		err = set_reg(v, REG_ESR_EL1, pstate & PSTATE_LEVEL ? APF_ARM64_ESR_EL1
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

int arch_raise(struct apf_kvm_vcpu *v, uint8_t ppi)
{
	return set_line(v, ppi, true) == 0;
}

void arch_lower(struct apf_kvm_vcpu *v, uint8_t ppi)
{
	set_line(v, ppi, false);
}

static int answer(struct apf_kvm_vcpu *v, const uint64_t result[4])
{
	int err = 0;

	for (unsigned int i = 0; i < 4 && !err; i++)
		err = set_reg(v, REG_X(i), result[i]);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot answer a call: %s", v->id, strerror(-err));
	return 1;
}

/* What KVM would say, and our bit (A1). */
static int features_call(struct apf_kvm_vcpu *v)
{
	uint64_t result[4] = { 0 };

	if (get_reg(v, REG_VENDOR_HYP, &result[0]))
		result[0] = 0;
	if (get_reg(v, REG_VENDOR_HYP_2, &result[2]))
		result[2] = 0;
	result[0] |= VENDOR_HYP_FEATURES;
	result[APF_ARM64_FEATURE_BIT / 32] |= 1u << APF_ARM64_FEATURE_BIT % 32;
	return answer(v, result);
}

/* The area must be there before the guest relies on notifications; waits for it. */
static int apf_call(struct apf_kvm_vcpu *v)
{
	uint64_t x[6], result[4], arg;
	unsigned int out = 0;
	int err = 0;

	for (unsigned int i = 0; i < 6 && !err; i++)
		err = get_reg(v, REG_X(i + 1), &x[i]);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot read a call: %s", v->id, strerror(-err));
	arg = (x[0] & UINT32_MAX) | x[1] << 32;
	if (arg >> APF_ARM64_OP_SHIFT == APF_ARM64_OP_ENABLE && (arg & APF_ARM64_ENABLED))
		gpa_need(v->k, arg & APF_ARM64_ADDR_MASK, APF_ARM64_AREA_SIZE);
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_call(v->engine, x, result, &out);
	act_on(v, out);
	pthread_mutex_unlock(&v->lock);
	return err ? err : answer(v, result);
}

/* What KVM does at this call, but with the vCPU's APF state dropped first (C10). */
static int cpu_off(struct apf_kvm_vcpu *v)
{
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_STOPPED };

	apf_kvm_vcpu_reset(v);
	if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
		return apf_error_set(-errno, "vcpu %u: cannot be switched off: %s", v->id,
				     strerror(errno));
	return 1;
}

static int hypercall(struct apf_kvm_vcpu *v)
{
	switch (v->run->hypercall.nr) {
	case APF_ARM64_FN_APF:
		return apf_call(v);
	case APF_ARM64_FN_FEATURES:
		return features_call(v);
	case PSCI_0_2_FN_CPU_OFF:
		return cpu_off(v);
	}
	return 0;
}

/* A halt of ours that an interrupt has ended comes out here; the guest then serves it. */
int arch_exit(struct apf_kvm_vcpu *v)
{
	const struct kvm_run *run = v->run;

	if (run->exit_reason == KVM_EXIT_HYPERCALL)
		return hypercall(v);
	if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT && v->halt_page != NO_PAGE &&
	    run->system_event.type == KVM_SYSTEM_EVENT_WAKEUP)
		return wake(v);
	return 0;
}

int arch_pin(struct apf_kvm_vcpu *v)
{
	if (!apf_vcpu_enabled(v->engine))
		return 0;
	return gpa_need(v->k, apf_vcpu_area(v->engine), APF_ARM64_AREA_SIZE);
}
