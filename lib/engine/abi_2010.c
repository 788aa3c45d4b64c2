/* SPDX-License-Identifier: MIT */
/*
 * The ABI of 2010 (rows L1-L7, L10): both notifications are a #PF with a reason
 * word. The guest takes each of them with interrupts off and reads the reason
 * before it turns them on, so the word is free whenever one may be delivered.
 */
#include <errno.h>

#include "abi_x86.h"

static bool is_on(uint64_t en)
{
	return en & APF_EN_ENABLED;
}

static bool l_enabled(const struct apf_vcpu *v)
{
	return is_on(v->ctl[CTL_EN]);
}

/* Bit 2 is reserved too: nested guests are never offered. */
static bool l_ctl_valid(const struct apf_vcpu *v, const uint64_t *ctl)
{
	if (ctl[CTL_EN] & (APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT))
		return false;
	return !is_on(ctl[CTL_EN]) || apf_area_is_ram(v, ctl[CTL_EN]);
}

static int l_ctl_write(struct apf_vcpu *v, uint32_t reg, uint64_t value)
{
	bool was = l_enabled(v);

	if (reg != APF_MSR_EN || !l_ctl_valid(v, &value))
		return -EINVAL;
	v->ctl[CTL_EN] = value;
	if (is_on(value))
		return APF_EFFECT_WAKE_ALL;
	return was ? APF_EFFECT_DISABLE : APF_EFFECT_NONE;
}

static int l_ctl_read(const struct apf_vcpu *v, uint32_t reg, uint64_t *value)
{
	if (reg != APF_MSR_EN)
		return -EINVAL;
	*value = v->ctl[CTL_EN];
	return 0;
}

static enum apf_why l_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	return l_enabled(v) ? apf_x86_np_gate(v, f) : APF_WHY_DISABLED;
}

const struct apf_abi apf_abi_2010 = {
	.name = "2010",
	.id_bits = 12,
	.ctl_words = 1,
	.failed_wakes_all = true,
	.ctl_valid = l_ctl_valid,
	.ctl_write = l_ctl_write,
	.ctl_read = l_ctl_read,
	.enabled = l_enabled,
	.area = apf_area_of,
	.np_gate = l_np_gate,
	.np_write = apf_area_np_write,
	.np_undo = apf_area_np_undo,
	.ready = apf_x86_ready_pf,
};
