/* SPDX-License-Identifier: MIT */
/* What the x86 generations share; see abi_x86.h. */
#include "abi_x86.h"

uint64_t apf_x86_area(const struct apf_vcpu *v)
{
	return v->ctl[CTL_EN] & APF_EN_ADDR_MASK;
}

bool apf_x86_area_valid(const struct apf_vcpu *v, uint64_t en)
{
	en &= APF_EN_ADDR_MASK;
	return en <= UINT64_MAX - APF_AREA_SIZE && v->ops->is_ram(v->ctx, en, APF_AREA_SIZE);
}

enum apf_why apf_x86_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	if (!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS))
		return APF_WHY_KERNEL;
	return f->paging ? APF_WHY_ASYNC : APF_WHY_NOPAGING;
}

static int write_reason(struct apf_vcpu *v, uint32_t reason)
{
	return v->ops->write32(v->ctx, apf_x86_area(v) + APF_AREA_REASON, reason);
}

int apf_x86_np_write(struct apf_vcpu *v)
{
	return write_reason(v, APF_REASON_NP);
}

void apf_x86_np_undo(struct apf_vcpu *v)
{
	write_reason(v, APF_REASON_NONE);
}

/* The gate of NP (C11, C14), but at any privilege: the guest must only be able to take it. */
static bool takes_exceptions(const struct apf_fault *at)
{
	return at->irqs_on && !at->irq_shadow && !at->event && at->paging && !at->smm &&
	       !at->nested;
}

/* Reason word and exception are one (C13). */
enum apf_sent apf_x86_ready_pf(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	if (!at)
		return APF_AT_ENTRY;
	if (!takes_exceptions(at) || write_reason(v, APF_REASON_READY))
		return APF_BLOCKED;
	if (!v->ops->inject(v->ctx, token))
		return APF_SENT;
	write_reason(v, APF_REASON_NONE);
	return APF_BLOCKED;
}
