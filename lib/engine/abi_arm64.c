/* SPDX-License-Identifier: MIT */
/*
 * arm64 (rows A1-A6, A9-A13, A16, A17; docs/abi-arm64.md): registers are written by
 * hypercalls, and an NP is a data abort. A guest chooses the revision when it enables:
 * in the first a ready is a data abort as well, in the second a token word and a PPI.
 */
#include <string.h>

#include <abi/apf_abi_arm64.h>

#include "area.h"

/*
 * Places in apf_vcpu.ctl behind CTL_EN, which is the argument of OP_ENABLE without its
 * operation. Regions fill up from the first; size 0: not in use. UNACKED is 1 from a
 * ready interrupt to its ACK, while its line is high.
 */
#define CTL_REGION	1
#define CTL_UNACKED	(CTL_REGION + 2 * APF_ARM64_REGIONS)
#define CTL_COUNT	(CTL_UNACKED + 1)

_Static_assert(CTL_COUNT <= APF_CTL_WORDS, "control words");

/* The arguments, put together from their halves (A1, A13). */
struct call {
	uint8_t op;
	uint64_t addr, flags;	/* of the first */
	uint64_t start, size;
};

/* What the guest may set in them; all the rest must be 0. */
struct op {
	uint64_t addr, flags;
	bool range;
	/* An enum apf_effect; or a result below 0 (A3), with nothing changed. */
	int (*call)(struct apf_vcpu *v, const struct call *c, uint64_t *result);
};

static bool has(const struct apf_vcpu *v, uint64_t flag)
{
	return v->ctl[CTL_EN] & flag;
}

static bool region_valid(uint64_t start, uint64_t size)
{
	return size && start <= UINT64_MAX - size;
}

/* In unused ones nothing is left over, and none is skipped. */
static bool regions_valid(const uint64_t *region)
{
	bool over = false;

	for (unsigned int i = 0; i < APF_ARM64_REGIONS; i++, region += 2) {
		bool unused = !region[0] && !region[1];

		if (!unused && (over || !region_valid(region[0], region[1])))
			return false;
		over = unused;
	}
	return true;
}

/* Has the guest means to say where it cannot take an abort (A6, A10, A11)? */
static bool can_hold_off(const uint64_t *ctl)
{
	return ctl[CTL_EN] & APF_ARM64_BUSY || ctl[CTL_REGION + 1];
}

/* Would a guest that enables with these registers be let? A result of the call (A3). */
static int check_enable(const struct apf_vcpu *v, const uint64_t *ctl)
{
	const uint64_t en = ctl[CTL_EN];

	if (en & APF_ARM64_INT && !v->ready_irq)
		return APF_ARM64_NOT_SUPPORTED;
	if (en & APF_ARM64_SEND_ALWAYS && !can_hold_off(ctl))
		return APF_ARM64_NOT_SUPPORTED;
	return apf_area_is_ram(v, en) ? APF_ARM64_SUCCESS : APF_ARM64_NOT_SUPPORTED;
}

static bool arm_ctl_valid(const struct apf_vcpu *v, const uint64_t *ctl)
{
	const uint64_t en = ctl[CTL_EN];

	if (!regions_valid(&ctl[CTL_REGION]) || ctl[CTL_UNACKED] > 1)
		return false;
	if (ctl[CTL_UNACKED] && !(en & APF_ARM64_INT))
		return false;
	if (!en)
		return true;
	return !(en & ~(APF_ARM64_ADDR_MASK | APF_ARM64_ENABLE_FLAGS)) &&
	       en & APF_ARM64_ENABLED && check_enable(v, ctl) == APF_ARM64_SUCCESS;
}

static void arm_lower(struct apf_vcpu *v)
{
	if (v->ctl[CTL_UNACKED])
		v->ops->lower(v->ctx, v->id, v->ready_irq);
	v->ctl[CTL_UNACKED] = 0;
}

static int op_info(struct apf_vcpu *v, const struct call *c, uint64_t *result)
{
	result[1] = APF_ARM64_VERSION;
	result[2] = APF_ARM64_OFFERS_ABORT | (v->ready_irq ? APF_ARM64_OFFERS_INT : 0);
	result[3] = v->ready_irq;
	return APF_EFFECT_NONE;
}

/* Where the token word is not 0 yet, the gate of ready lets nothing out (N4). */
static int op_ack(struct apf_vcpu *v, const struct call *c, uint64_t *result)
{
	if (!has(v, APF_ARM64_INT))
		return APF_ARM64_NOT_REQUIRED;
	arm_lower(v);
	return APF_EFFECT_LOOK;
}

static int add_region(struct apf_vcpu *v, const struct call *c)
{
	uint64_t *region = &v->ctl[CTL_REGION];

	for (unsigned int i = 0; i < APF_ARM64_REGIONS; i++, region += 2) {
		if (region[1])
			continue;
		region[0] = c->start;
		region[1] = c->size;
		return APF_EFFECT_NONE;
	}
	return APF_ARM64_NOT_SUPPORTED;
}

static int op_region(struct apf_vcpu *v, const struct call *c, uint64_t *result)
{
	bool clear = c->flags & APF_ARM64_REGION_CLEAR;

	if (clear ? c->start || c->size : !region_valid(c->start, c->size))
		return APF_ARM64_INVALID_PARAMETER;
	if (has(v, APF_ARM64_ENABLED))
		return APF_ARM64_NOT_SUPPORTED;
	if (!clear)
		return add_region(v, c);
	memset(&v->ctl[CTL_REGION], 0, 2 * APF_ARM64_REGIONS * sizeof(v->ctl[0]));
	return APF_EFFECT_NONE;
}

static int disable(struct apf_vcpu *v)
{
	if (!has(v, APF_ARM64_ENABLED))
		return APF_ARM64_NOT_REQUIRED;
	v->ctl[CTL_EN] = 0;
	return APF_EFFECT_DISABLE;
}

/*
 * What an earlier life left in the area would hold notifications back for ever, so both
 * of the host's words start at 0; a word that cannot be reached stays, and they wait.
 */
static int op_enable(struct apf_vcpu *v, const struct call *c, uint64_t *result)
{
	const uint64_t en = c->addr | c->flags;
	uint64_t ctl[APF_CTL_WORDS];
	int ret;

	if (!(en & APF_ARM64_ENABLED))
		return disable(v);
	if (en == v->ctl[CTL_EN])
		return APF_ARM64_NOT_REQUIRED;
	memcpy(ctl, v->ctl, sizeof(ctl));
	ctl[CTL_EN] = en;
	ret = check_enable(v, ctl);
	if (ret)
		return ret;
	v->ctl[CTL_EN] = en;
	v->ops->write32(v->ctx, apf_area_of(v) + APF_ARM64_AREA_REASON, APF_ARM64_REASON_NONE);
	v->ops->write32(v->ctx, apf_area_of(v) + APF_ARM64_AREA_TOKEN, 0);
	return APF_EFFECT_RESTART;
}

static const struct op *op_of(uint8_t number)
{
	static const struct op info = { .call = op_info }, ack = { .call = op_ack },
		region = { .flags = APF_ARM64_REGION_CLEAR, .range = true, .call = op_region },
		enable = { .addr = APF_ARM64_ADDR_MASK, .flags = APF_ARM64_ENABLE_FLAGS,
			   .call = op_enable };

	switch (number) {
	case APF_ARM64_OP_INFO:
		return &info;
	case APF_ARM64_OP_ACK:
		return &ack;
	case APF_ARM64_OP_REGION:
		return &region;
	case APF_ARM64_OP_ENABLE:
		return &enable;
	}
	return NULL;
}

/* False: a half is more than that. */
static bool get_call(const uint64_t x[6], struct call *c)
{
	const uint64_t what = x[0] | x[1] << 32;

	c->op = (uint8_t)(what >> APF_ARM64_OP_SHIFT);
	c->addr = what & APF_ARM64_ADDR_MASK;
	c->flags = what & APF_ARM64_FLAGS_MASK;
	c->start = x[2] | x[3] << 32;
	c->size = x[4] | x[5] << 32;
	return !((x[0] | x[1] | x[2] | x[3] | x[4] | x[5]) >> 32);
}

static int dispatch(struct apf_vcpu *v, const uint64_t x[6], uint64_t *result)
{
	const struct op *op;
	struct call c;

	if (!get_call(x, &c))
		return APF_ARM64_INVALID_PARAMETER;
	op = op_of(c.op);
	if (!op)
		return APF_ARM64_NOT_SUPPORTED;
	if (c.addr & ~op->addr || c.flags & ~op->flags || (!op->range && (c.start || c.size)))
		return APF_ARM64_INVALID_PARAMETER;
	return op->call(v, &c, result);
}

static int arm_call(struct apf_vcpu *v, const uint64_t x[6], uint64_t result[4])
{
	int ret = dispatch(v, x, result);

	if (ret >= 0)
		return ret;
	result[0] = (uint64_t)(int64_t)ret;
	return APF_EFFECT_NONE;
}

static bool arm_enabled(const struct apf_vcpu *v)
{
	return has(v, APF_ARM64_ENABLED);
}

static bool in_region(const struct apf_vcpu *v, uint64_t pc)
{
	const uint64_t *region = &v->ctl[CTL_REGION];

	for (unsigned int i = 0; i < APF_ARM64_REGIONS; i++, region += 2)
		if (pc - region[0] < region[1])
			return true;
	return false;
}

/* Such a guest counts as runnable, whatever else would halt it (A8). */
static bool arm_unconsumed(const struct apf_vcpu *v)
{
	const uint64_t at = apf_area_of(v) + APF_ARM64_AREA_REASON;
	uint32_t word;

	return arm_enabled(v) && !v->ops->read32(v->ctx, at, &word) && word;
}

/* May a guest with interrupts on take an abort here (A6, A11)? APF_WHY_ASYNC if so. */
static enum apf_why abort_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	const uint64_t area = apf_area_of(v);
	uint32_t word;

	if (v->ops->read32(v->ctx, area + APF_ARM64_AREA_REASON, &word))
		return APF_WHY_AREA;
	if (word)
		return APF_WHY_BUSY;
	if (has(v, APF_ARM64_BUSY)) {
		if (v->ops->read32(v->ctx, area + APF_ARM64_AREA_BUSY, &word))
			return APF_WHY_AREA;
		if (word)
			return APF_WHY_REGION;
	}
	return in_region(v, f->pc) ? APF_WHY_REGION : APF_WHY_ASYNC;
}

static enum apf_why arm_np_gate(const struct apf_vcpu *v, const struct apf_fault *f)
{
	enum apf_why why;

	if (!arm_enabled(v))
		return APF_WHY_DISABLED;
	why = abort_gate(v, f);
	if (why != APF_WHY_ASYNC)
		return why;
	if (!f->user && !has(v, APF_ARM64_SEND_ALWAYS))
		return APF_WHY_KERNEL;
	if (has(v, APF_ARM64_INT) && apf_area_holds_wake_all(v))
		return APF_WHY_AREA;
	return APF_WHY_ASYNC;
}

/* First revision: at EL1 only to a guest that can say where not (A6). */
static enum apf_sent ready_abort(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	if (!at)
		return APF_AT_ENTRY;
	if (!at->irqs_on || at->event || (!at->user && !can_hold_off(v->ctl)) ||
	    abort_gate(v, at) != APF_WHY_ASYNC)
		return APF_BLOCKED;
	return apf_area_ready_exception(v, token);
}

/*
 * Second revision. The line is high until the ACK, so a token that went out between the
 * guest's clearing the word and its ACK would lose its interrupt to that ACK: not before.
 */
static enum apf_sent ready_ppi(struct apf_vcpu *v, uint32_t token)
{
	enum apf_sent sent;

	if (v->ctl[CTL_UNACKED])
		return APF_HELD;
	sent = apf_area_ready_interrupt(v, token, v->ready_irq);
	v->ctl[CTL_UNACKED] = sent == APF_SENT;
	return sent;
}

static enum apf_sent arm_ready(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at)
{
	return has(v, APF_ARM64_INT) ? ready_ppi(v, token) : ready_abort(v, token, at);
}

const struct apf_abi apf_abi_arm64 = {
	.name = "arm64",
	.id_bits = 16,
	.ctl_words = CTL_COUNT,
	.ctl_valid = arm_ctl_valid,
	.call = arm_call,
	.enabled = arm_enabled,
	.area = apf_area_of,
	.unconsumed = arm_unconsumed,
	.np_gate = arm_np_gate,
	.np_write = apf_area_np_write,
	.np_undo = apf_area_np_undo,
	.ready = arm_ready,
	.lower = arm_lower,
};
