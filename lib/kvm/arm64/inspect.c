/* SPDX-License-Identifier: MIT */
/* arm64: the state of the ready interrupt is in the VMM's interrupt controller, not the vCPU. */
#include "kvm/arch.h"

void apf_arch_inspect(struct apf_kvm_vcpu *v, struct apf_kvm_vcpu_view *out)
{
	out->vector = v->k->cfg.ready_ppi;
}
