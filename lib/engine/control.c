/* SPDX-License-Identifier: MIT */
/* What a guest asks of its vCPU's APF: control writes, calls, reset. */
#include <errno.h>
#include <string.h>

#include <abi/apf_abi_arm64.h>
#include <trace/trace.h>

#include "abi.h"

static void drop(struct apf_vcpu *v)
{
	APF_TRACE(reset, APF_EV_RESET, v->id, 0, 0,
		  apf_vcpu_outstanding(v) + v->set.list[APF_NODE_READY].count);
	apf_set_clear(&v->set);
	v->wake_all = false;
	if (abi_of(v)->lower)
		abi_of(v)->lower(v);
}

/* What a control write or call asks for, once the registers hold it. */
static unsigned int carry_out(struct apf_vcpu *v, int effect)
{
	switch (effect) {
	case APF_EFFECT_DISABLE:
		drop(v);
		return 0;
	case APF_EFFECT_RESTART:
		drop(v);
		v->wake_all = true;
		break;
	case APF_EFFECT_WAKE_ALL:
		v->wake_all = true;
		break;
	case APF_EFFECT_LOOK:
		break;
	default:
		return 0;
	}
	return apf_vcpu_poll(v);
}

int apf_vcpu_control_write(struct apf_vcpu *v, uint32_t reg, uint64_t value, unsigned int *out)
{
	const struct apf_abi *abi = abi_of(v);
	int effect = abi->ctl_write ? abi->ctl_write(v, reg, value) : -EINVAL;
	unsigned int bits = 0;

	if (effect >= 0) {
		APF_TRACE(control, APF_EV_CONTROL, v->id, 0, reg, value);
		bits = carry_out(v, effect);
	}
	if (out)
		*out = bits;
	return effect < 0 ? effect : 0;
}

int apf_vcpu_control_read(const struct apf_vcpu *v, uint32_t reg, uint64_t *value)
{
	const struct apf_abi *abi = abi_of(v);

	return abi->ctl_read ? abi->ctl_read(v, reg, value) : -EINVAL;
}

int apf_vcpu_call(struct apf_vcpu *v, const uint64_t x[6], uint64_t result[4], unsigned int *out)
{
	const struct apf_abi *abi = abi_of(v);
	unsigned int bits;
	int effect;

	if (out)
		*out = 0;
	if (!abi->call)
		return -EINVAL;
	memset(result, 0, 4 * sizeof(*result));
	effect = abi->call(v, x, result);
	APF_TRACE(control, APF_EV_CONTROL, v->id, 0, APF_ARM64_FN_APF, x[0] | x[1] << 32);
	bits = carry_out(v, effect);
	if (out)
		*out = bits;
	return 0;
}

/* The counter runs on: what the guest still remembers from before stays unique. */
void apf_vcpu_reset(struct apf_vcpu *v)
{
	drop(v);
	memset(v->ctl, 0, sizeof(v->ctl));
	v->standing = false;
}

unsigned int apf_vcpu_broadcast(struct apf_vcpu *v)
{
	if (apf_vcpu_enabled(v))
		v->wake_all = true;
	return apf_vcpu_poll(v);
}
