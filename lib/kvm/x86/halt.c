/* SPDX-License-Identifier: MIT */
/* x86: what a vCPU has in the kernel that can end a halt, and whether it may be halted at all. */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/x86/x86.h"

#define PV_UNHALT	(1u << 7)

bool apf_arch_has_lapic(const struct apf_kvm_vcpu *v)
{
	struct kvm_lapic_state state;

	return ioctl(v->fd, KVM_GET_LAPIC, &state) == 0;
}

/* Would KVM show the guest PV_UNHALT if the VMM did? */
static bool keeps_unhalt(const struct apf_kvm_vcpu *v, struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *e = apf_x86_kvm_features(cpuid);
	const uint32_t eax = e ? e->eax : 0;
	bool keeps;

	if (!e)
		return true;
	e->eax |= PV_UNHALT;
	keeps = ioctl(v->fd, KVM_SET_CPUID2, cpuid) < 0 || ioctl(v->fd, KVM_GET_CPUID2, cpuid) < 0 ||
		e->eax & PV_UNHALT;
	e->eax = eax;
	ioctl(v->fd, KVM_SET_CPUID2, cpuid);
	return keeps;
}

/*
 * With HLT exits disabled (KVM_CAP_X86_DISABLE_EXITS) KVM never halts a vCPU for a page, nor do
 * we: it owns its processor. No call tells which exits are disabled, but KVM then takes
 * PV_UNHALT out of the CPUID that it is given. Before the first run a vCPU's CPUID may be set
 * as often as one likes.
 */
static bool hlt_exits(const struct apf_kvm_vcpu *v)
{
	struct kvm_cpuid2 *cpuid;
	bool exits;

	if (apf_x86_get_cpuid(v, &cpuid))
		return true;
	exits = keeps_unhalt(v, cpuid);
	free(cpuid);
	return exits;
}

/* KVM takes no other mp_state than RUNNABLE without a local APIC in the kernel. */
bool apf_arch_may_halt(const struct apf_kvm_vcpu *v)
{
	return apf_arch_has_lapic(v) && hlt_exits(v);
}
