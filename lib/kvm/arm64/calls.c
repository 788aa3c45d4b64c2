/* SPDX-License-Identifier: MIT */
/* arm64: exits: the guest's calls that the filter brings here. */
#include <errno.h>
#include <linux/psci.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_arm64.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/arm64/arm64.h"

/* The vendor-hypervisor functions that KVM offers; words 0 and 2 of its features call. */
#define REG_VENDOR_HYP		KVM_REG_ARM_FW_FEAT_BMAP_REG(2)
#define REG_VENDOR_HYP_2	KVM_REG_ARM_FW_FEAT_BMAP_REG(3)
#define VENDOR_HYP_FEATURES	(1ull << 0)	/* the features call itself */

static int answer(struct apf_kvm_vcpu *v, const uint64_t result[4])
{
	int err = 0;

	for (unsigned int i = 0; i < 4 && !err; i++)
		err = apf_arm64_set_reg(v, REG_X(i), result[i]);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot answer a call: %s", v->id, strerror(-err));
	return GO_ON;
}

/* What KVM would say, and our bit (A1). */
static int features_call(struct apf_kvm_vcpu *v)
{
	uint64_t result[4] = { 0 };

	if (apf_arm64_get_reg(v, REG_VENDOR_HYP, &result[0]))
		result[0] = 0;
	if (apf_arm64_get_reg(v, REG_VENDOR_HYP_2, &result[2]))
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
		err = apf_arm64_get_reg(v, REG_X(i + 1), &x[i]);
	if (err)
		return apf_error_set(err, "vcpu %u: cannot read a call: %s", v->id, strerror(-err));
	arg = (x[0] & UINT32_MAX) | x[1] << 32;
	if (arg >> APF_ARM64_OP_SHIFT == APF_ARM64_OP_ENABLE && (arg & APF_ARM64_ENABLED))
		err = apf_run_need(v, arg & APF_ARM64_ADDR_MASK, APF_ARM64_AREA_SIZE);
	if (err == -EINTR)
		return err;
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_call(v->engine, x, result, &out);
	apf_link_act(v, out);
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
	return GO_ON;
}

bool apf_arch_exit_ends_halt(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_SYSTEM_EVENT &&
	       run->system_event.type == KVM_SYSTEM_EVENT_WAKEUP;
}

int apf_arch_exit(struct apf_kvm_vcpu *v)
{
	if (v->run->exit_reason != KVM_EXIT_HYPERCALL)
		return TO_CALLER;
	switch (v->run->hypercall.nr) {
	case APF_ARM64_FN_APF:
		return apf_call(v);
	case APF_ARM64_FN_FEATURES:
		return features_call(v);
	case PSCI_0_2_FN_CPU_OFF:
		return cpu_off(v);
	}
	return TO_CALLER;
}

int apf_arch_start(struct apf_kvm_vcpu *v)
{
	if (!apf_vcpu_enabled(v->engine))
		return GO_ON;
	return apf_run_need(v, apf_vcpu_area(v->engine), APF_ARM64_AREA_SIZE);
}
