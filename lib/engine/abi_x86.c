/* SPDX-License-Identifier: MIT */
/* What only the x86 generations share; see abi_x86.h. */
#include "abi_x86.h"

enum apf_why apf_x86_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	if (!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS))
		return APF_WHY_KERNEL;
	return f->paging ? APF_WHY_ASYNC : APF_WHY_NOPAGING;
}

bool apf_x86_takes_exceptions(const struct apf_fault *at)
{
	return at->irqs_on && !at->irq_shadow && !at->event && at->paging && !at->smm &&
	       !at->nested;
}

enum apf_sent apf_x86_ready_pf(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	if (!at)
		return APF_AT_ENTRY;
	return apf_x86_takes_exceptions(at) ? apf_area_ready_exception(v, token) : APF_BLOCKED;
}
