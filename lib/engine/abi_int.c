/* SPDX-License-Identifier: MIT */
/*
 * The ABI of today's kernels (rows N1-N7): NP is a #PF with a reason word,
 * ready an interrupt with a token word, and the two never share a slot.
 */
#include <errno.h>

#include "abi_x86.h"

static bool means_enabled(uint64_t en)
{
	return (en & APF_EN_ENABLED) && (en & APF_EN_INT);
}

static bool int_enabled(const struct apf_vcpu *v)
{
	return means_enabled(v->ctl[CTL_EN]);
}

/* Bit 2 is reserved too: we never offer CPUID bit 10 (N5). */
static bool en_valid(const struct apf_vcpu *v, uint64_t en)
{
	if (en & (APF_EN_RESERVED | APF_EN_VMEXIT))
		return false;
	if (en && !v->has_lapic)
		return false;
	return !means_enabled(en) || apf_area_is_ram(v, en);
}

static bool vector_valid(const struct apf_vcpu *v, uint64_t value)
{
	return !(value & ~APF_INT_VECTOR_MASK);
}

static bool int_ctl_valid(const struct apf_vcpu *v, const uint64_t *ctl)
{
	return en_valid(v, ctl[CTL_EN]) && vector_valid(v, ctl[CTL_INT]) &&
	       (v->has_lapic || !ctl[CTL_INT]);
}

/*
 * A token that the guest has not consumed is outstanding state as well (C10).
 * Linux leaves it there when the interrupt arrives after EN was cleared; it
 * would hold back every ready of the next life.
 */
static void take_back_token(struct apf_vcpu *v)
{
	uint64_t word = apf_area_of(v) + APF_AREA_TOKEN;
	uint32_t token;

	if (!v->ops->read32(v->ctx, word, &token) && token)
		v->ops->write32(v->ctx, word, 0);
}

static int write_en(struct apf_vcpu *v, uint64_t en)
{
	bool was = int_enabled(v);

	if (!en_valid(v, en))
		return -EINVAL;
	if (was && !means_enabled(en))
		take_back_token(v);
	v->ctl[CTL_EN] = en;
	if (means_enabled(en))
		return APF_EFFECT_WAKE_ALL;
	return was ? APF_EFFECT_DISABLE : APF_EFFECT_NONE;
}

static int int_ctl_write(struct apf_vcpu *v, uint32_t reg, uint64_t value)
{
	switch (reg) {
	case APF_MSR_EN:
		return write_en(v, value);
	case APF_MSR_INT:
		if (!vector_valid(v, value) || !v->has_lapic)
			return -EINVAL;
		v->ctl[CTL_INT] = value;
		return APF_EFFECT_NONE;
	case APF_MSR_ACK:
		return value & APF_ACK_LOOK ? APF_EFFECT_LOOK : APF_EFFECT_NONE;
	}
	return -EINVAL;
}

static int int_ctl_read(const struct apf_vcpu *v, uint32_t reg, uint64_t *value)
{
	switch (reg) {
	case APF_MSR_EN:
		*value = v->ctl[CTL_EN];
		return 0;
	case APF_MSR_INT:
		*value = v->ctl[CTL_INT];
		return 0;
	case APF_MSR_ACK:
		*value = 0;
		return 0;
	}
	return -EINVAL;
}

/*
 * An old reason word does not hold an NP back (N3). A wake-all that was sent and
 * not yet handled does, beyond what KVM does: the NP could put its task to sleep
 * before the handler runs, which would then wake it early and leave its ready
 * without a sleeper.
 */
static enum apf_why int_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	enum apf_why why = apf_x86_np_gate(v, f);

	if (!int_enabled(v))
		return APF_WHY_DISABLED;
	if (why != APF_WHY_ASYNC)
		return why;
	return apf_area_holds_wake_all(v) ? APF_WHY_AREA : APF_WHY_ASYNC;
}

static enum apf_sent int_ready(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	return apf_area_ready_interrupt(v, token, (uint8_t)v->ctl[CTL_INT]);
}

const struct apf_abi apf_abi_int = {
	.name = "int",
	.id_bits = 12,
	.ctl_words = 2,
	.ctl_valid = int_ctl_valid,
	.ctl_write = int_ctl_write,
	.ctl_read = int_ctl_read,
	.enabled = int_enabled,
	.area = apf_area_of,
	.np_gate = int_np_gate,
	.np_write = apf_area_np_write,
	.np_undo = apf_area_np_undo,
	.ready = int_ready,
};
