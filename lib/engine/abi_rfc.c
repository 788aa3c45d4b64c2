/* SPDX-License-Identifier: MIT */
/*
 * The ABI of the 2020 request for comments (rows I1-I6): with EN bit 3 ready is an
 * interrupt ("PF2"), but both notifications share the area, which must therefore be
 * free before either is written. Without bit 3 gate and carrier are 2010's. Reason and
 * token are in the area for each notification, whatever carries it (I5).
 */
#include <errno.h>

#include "abi_x86.h"

static bool is_on(uint64_t en)
{
	return en & APF_EN_ENABLED;
}

/* Is ready an interrupt under this EN? */
static bool by_interrupt(uint64_t en)
{
	return is_on(en) && (en & APF_EN_INT);
}

static bool rfc_enabled(const struct apf_vcpu *v)
{
	return is_on(v->ctl[CTL_EN]);
}

static bool pf2_on(const struct apf_vcpu *v)
{
	return v->ctl[CTL_INT] & APF_PF2_ENABLED;
}

/* Bit 2 is reserved too: nested guests are never offered. */
static bool en_valid(const struct apf_vcpu *v, uint64_t en)
{
	if (en & (APF_EN_RESERVED | APF_EN_VMEXIT))
		return false;
	return !is_on(en) || apf_area_is_ram(v, en);
}

static bool pf2_valid(uint64_t value)
{
	return !(value & ~(APF_INT_VECTOR_MASK | APF_PF2_ENABLED));
}

static bool rfc_ctl_valid(const struct apf_vcpu *v, const uint64_t *ctl)
{
	return en_valid(v, ctl[CTL_EN]) && pf2_valid(ctl[CTL_INT]) &&
	       (v->has_lapic || !ctl[CTL_INT]);
}

static void clear_words(struct apf_vcpu *v)
{
	const uint64_t area = apf_area_of(v);

	v->ops->write32(v->ctx, area + APF_AREA_REASON, APF_REASON_NONE);
	v->ops->write32(v->ctx, area + APF_AREA_TOKEN, 0);
}

/*
 * A ready that the guest has not consumed goes with the rest (C10): an interrupt
 * handler that finds APF off leaves the area alone, which would never be free again.
 */
static void take_back_ready(struct apf_vcpu *v)
{
	const uint64_t word = apf_area_of(v) + APF_AREA_REASON;
	uint32_t reason;

	if (!v->ops->read32(v->ctx, word, &reason) && reason == APF_REASON_READY)
		clear_words(v);
}

static int write_en(struct apf_vcpu *v, uint64_t en)
{
	bool was = rfc_enabled(v);

	if (!en_valid(v, en))
		return -EINVAL;
	if (by_interrupt(v->ctl[CTL_EN]) && !by_interrupt(en))
		take_back_ready(v);
	v->ctl[CTL_EN] = en;
	if (is_on(en))
		return APF_EFFECT_WAKE_ALL;
	return was ? APF_EFFECT_DISABLE : APF_EFFECT_NONE;
}

/* Every write that leaves PF2 on sends a wake-all, not the first one alone (I3). */
static int rfc_ctl_write(struct apf_vcpu *v, uint32_t reg, uint64_t value)
{
	switch (reg) {
	case APF_MSR_EN:
		return write_en(v, value);
	case APF_MSR_INT:
		if (!pf2_valid(value) || !v->has_lapic)
			return -EINVAL;
		v->ctl[CTL_INT] = value;
		return pf2_on(v) && rfc_enabled(v) ? APF_EFFECT_WAKE_ALL : APF_EFFECT_NONE;
	}
	return -EINVAL;
}

static int rfc_ctl_read(const struct apf_vcpu *v, uint32_t reg, uint64_t *value)
{
	if (reg != APF_MSR_EN && reg != APF_MSR_INT)
		return -EINVAL;
	*value = v->ctl[reg == APF_MSR_EN ? CTL_EN : CTL_INT];
	return 0;
}

static enum apf_why rfc_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	const uint64_t en = v->ctl[CTL_EN];
	enum apf_why why;
	uint32_t reason;

	if (!is_on(en) || (by_interrupt(en) && !pf2_on(v)))
		return APF_WHY_DISABLED;
	why = apf_x86_np_gate(v, f);
	if (why != APF_WHY_ASYNC || !by_interrupt(en))
		return why;
	if (v->ops->read32(v->ctx, apf_area_of(v) + APF_AREA_REASON, &reason))
		return APF_WHY_AREA;
	return reason ? APF_WHY_BUSY : APF_WHY_ASYNC;
}

/* The reason word comes last: it is what makes the token word mean something. */
static int write_words(struct apf_vcpu *v, uint32_t reason, uint32_t token)
{
	const uint64_t area = apf_area_of(v);

	if (v->ops->write32(v->ctx, area + APF_AREA_TOKEN, token))
		return -EFAULT;
	if (!v->ops->write32(v->ctx, area + APF_AREA_REASON, reason))
		return 0;
	v->ops->write32(v->ctx, area + APF_AREA_TOKEN, 0);
	return -EFAULT;
}

static int rfc_np_write(struct apf_vcpu *v, uint32_t token)
{
	return write_words(v, APF_REASON_NP, token);
}

/* May a ready go out (I3, I4, L5)? APF_SENT if so. */
static enum apf_sent ready_gate(const struct apf_vcpu *v, const struct apf_fault *at)
{
	uint32_t reason;

	if (by_interrupt(v->ctl[CTL_EN])) {
		if (!pf2_on(v))
			return APF_HELD;	/* writing PF2 makes us look (I3) */
		if (v->ops->read32(v->ctx, apf_area_of(v) + APF_AREA_REASON, &reason) || reason)
			return APF_BLOCKED;
		return APF_SENT;
	}
	if (!at)
		return APF_AT_ENTRY;
	return apf_x86_takes_exceptions(at) ? APF_SENT : APF_BLOCKED;
}

static bool carry(struct apf_vcpu *v, uint32_t token)
{
	const uint8_t vector = (uint8_t)v->ctl[CTL_INT];

	if (!by_interrupt(v->ctl[CTL_EN]))
		return !v->ops->inject(v->ctx, token);
	return v->ops->raise(v->ctx, v->id, vector) > 0 || vector < FIRST_VECTOR;
}

static enum apf_sent rfc_ready(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	enum apf_sent gate = ready_gate(v, at);

	if (gate != APF_SENT)
		return gate;
	if (write_words(v, APF_REASON_READY, token))
		return APF_BLOCKED;
	if (carry(v, token))
		return APF_SENT_SILENT;
	clear_words(v);
	return APF_BLOCKED;
}

const struct apf_abi apf_abi_rfc = {
	.name = "rfc",
	.id_bits = 12,
	.ctl_words = 2,
	.failed_wakes_all = true,
	.ctl_valid = rfc_ctl_valid,
	.ctl_write = rfc_ctl_write,
	.ctl_read = rfc_ctl_read,
	.enabled = rfc_enabled,
	.area = apf_area_of,
	.np_gate = rfc_np_gate,
	.np_write = rfc_np_write,
	.np_undo = clear_words,
	.ready = rfc_ready,
};
