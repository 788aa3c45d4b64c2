/* SPDX-License-Identifier: MIT */
/* The words of the area, and the notifications that go with them; see area.h. */
#include <abi/apf_abi_arm64.h>
#include <abi/apf_abi_x86.h>

#include "area.h"

_Static_assert(APF_AREA_REASON == APF_ARM64_AREA_REASON && APF_REASON_NP == APF_ARM64_REASON_NP &&
	       APF_REASON_READY == APF_ARM64_REASON_READY, "the reason word");
_Static_assert(APF_AREA_TOKEN == APF_ARM64_AREA_TOKEN, "the token word");
_Static_assert(APF_AREA_SIZE == APF_ARM64_AREA_SIZE, "the area");

uint64_t apf_area_of(const struct apf_vcpu *v)
{
	return v->ctl[CTL_EN] & APF_EN_ADDR_MASK;
}

bool apf_area_is_ram(const struct apf_vcpu *v, uint64_t en)
{
	en &= APF_EN_ADDR_MASK;
	return en <= UINT64_MAX - APF_AREA_SIZE && v->ops->is_ram(v->ctx, en, APF_AREA_SIZE, true);
}

static int write_reason(struct apf_vcpu *v, uint32_t reason)
{
	return v->ops->write32(v->ctx, apf_area_of(v) + APF_AREA_REASON, reason);
}

int apf_area_np_write(struct apf_vcpu *v, uint32_t token)
{
	return write_reason(v, APF_REASON_NP);
}

void apf_area_np_undo(struct apf_vcpu *v)
{
	write_reason(v, APF_REASON_NONE);
}

bool apf_area_holds_wake_all(const struct apf_vcpu *v)
{
	uint32_t token;

	return v->ops->read32(v->ctx, apf_area_of(v) + APF_AREA_TOKEN, &token) ||
	       token == APF_TOKEN_BROADCAST;
}

/* Reason word and exception are one (C13). */
enum apf_sent apf_area_ready_exception(struct apf_vcpu *v, uint32_t token)
{
	if (write_reason(v, APF_REASON_READY))
		return APF_BLOCKED;
	if (!v->ops->inject(v->ctx, token))
		return APF_SENT_SILENT;
	write_reason(v, APF_REASON_NONE);
	return APF_BLOCKED;
}

enum apf_sent apf_area_ready_interrupt(struct apf_vcpu *v, uint32_t token, uint8_t vector)
{
	uint64_t word = apf_area_of(v) + APF_AREA_TOKEN;
	uint32_t old;

	if (v->ops->read32(v->ctx, word, &old))
		return APF_BLOCKED;
	if (old)
		return APF_HELD;
	if (v->ops->write32(v->ctx, word, token))
		return APF_BLOCKED;
	if (v->ops->raise(v->ctx, v->id, vector) > 0 || vector < FIRST_VECTOR)
		return APF_SENT;
	v->ops->write32(v->ctx, word, 0);
	return APF_BLOCKED;
}
