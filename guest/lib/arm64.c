/* SPDX-License-Identifier: MIT */
/*
 * arm64, both revisions, from the guest's side: discovery and enabling by hypervisor
 * calls, what a data abort and the ready interrupt say. Rows A of docs/protocol.md.
 */
#include "core.h"

#define OP(number)	((uint64_t)(number) << APF_ARM64_OP_SHIFT)
#define VERSION_MAJOR(version)	((version) >> 16)

/* Of ESR_EL1. */
#define ESR_CLASS(esr)	((esr) >> 26 & 0x3f)
#define ESR_DFSC(esr)	((esr) & 0x3f)
#define CLASS_ABORT_EL0	0x24u
#define CLASS_ABORT_EL1	0x25u

#define PPI_FIRST	16u
#define PPI_LAST	31u

/* A 64-bit argument in the low halves of two registers (A1). */
static void put_halves(uint64_t x[2], uint64_t value)
{
	x[0] = (uint32_t)value;
	x[1] = value >> 32;
}

/* Results are 32 bits wide; of x0 the host may or may not have extended the sign (A3). */
static int32_t call(struct apf_guest *g, uint64_t what, uint64_t start, uint64_t size,
		    uint64_t r[4])
{
	uint64_t x[7] = { APF_ARM64_FN_APF };

	put_halves(&x[1], what);
	put_halves(&x[3], start);
	put_halves(&x[5], size);
	g->ops->hvc(g->ctx, x, r);
	return (int32_t)(uint32_t)r[0];
}

static bool tell(struct apf_guest *g, uint64_t what, uint64_t start, uint64_t size)
{
	uint64_t r[4];

	return call(g, what, start, size, r) == APF_ARM64_SUCCESS;
}

static bool is_announced(struct apf_guest *g)
{
	const uint64_t x[7] = { APF_ARM64_FN_FEATURES };
	uint64_t r[4];

	g->ops->hvc(g->ctx, x, r);
	return (int32_t)(uint32_t)r[0] != APF_ARM64_NOT_SUPPORTED &&
	       r[APF_ARM64_FEATURE_BIT / 32] >> APF_ARM64_FEATURE_BIT % 32 & 1;
}

enum apf_guest_abi apf_guest_arm64_detect(struct apf_guest *g)
{
	uint64_t r[4];
	uint32_t offers, intid;

	if (!is_announced(g) || call(g, OP(APF_ARM64_OP_INFO), 0, 0, r) != APF_ARM64_SUCCESS ||
	    VERSION_MAJOR((uint32_t)r[1]) != VERSION_MAJOR(APF_ARM64_VERSION))
		return APF_GUEST_OFF;
	offers = (uint32_t)r[2];
	intid = (uint32_t)r[3];
	if (offers & APF_ARM64_OFFERS_INT && intid >= PPI_FIRST && intid <= PPI_LAST) {
		g->intid = intid;
		return APF_GUEST_ARM64_INT;
	}
	return offers & APF_ARM64_OFFERS_ABORT ? APF_GUEST_ARM64_ABORT : APF_GUEST_OFF;
}

int apf_guest_arm64_add_region(struct apf_guest *g, uint64_t start, uint64_t size)
{
	if (!size || start + size < start || g->regions == APF_ARM64_REGIONS)
		return -APF_GUEST_EINVAL;
	g->region[g->regions++] = (struct apf_guest_region){ start, size };
	return 0;
}

static void switch_off(struct apf_guest *g)
{
	tell(g, OP(APF_ARM64_OP_ENABLE), 0, 0);
}

static bool tell_regions(struct apf_guest *g)
{
	if (!tell(g, OP(APF_ARM64_OP_REGION) | APF_ARM64_REGION_CLEAR, 0, 0))
		return false;
	for (uint32_t i = 0; i < g->regions; i++)
		if (!tell(g, OP(APF_ARM64_OP_REGION), g->region[i].start, g->region[i].size))
			return false;
	return true;
}

/* Off first: this CPU may have been reset without the host's noticing, and regions need it. */
static bool switch_on(struct apf_guest *g, struct apf_guest_cpu *c)
{
	uint64_t flags = APF_ARM64_ENABLED;

	if (g->send_always)
		flags |= APF_ARM64_SEND_ALWAYS;
	if (g->abi == APF_GUEST_ARM64_INT)
		flags |= APF_ARM64_INT;
	if (g->keeps_busy)
		flags |= APF_ARM64_BUSY;
	switch_off(g);
	return tell_regions(g) && tell(g, OP(APF_ARM64_OP_ENABLE) | c->phys | flags, 0, 0);
}

static void ack(struct apf_guest *g)
{
	tell(g, OP(APF_ARM64_OP_ACK), 0, 0);
}

static const struct apf_guest_arch arm64 = {
	.switch_on = switch_on, .switch_off = switch_off, .ack = ack,
};

int apf_guest_arm64_enable(struct apf_guest *g)
{
	if (g->abi == APF_GUEST_OFF)
		return -APF_GUEST_EINVAL;
	/* What was begun before a reset will not end. */
	write_shared(&this_cpu(g)->area_arm64.busy, 0);
	return apf_guest_enable(g, &arm64);
}

void apf_guest_arm64_disable(struct apf_guest *g)
{
	apf_guest_disable(g, &arm64);
}

/* An interrupt in the middle of either leaves the word as it found it. */
static void add_busy(struct apf_guest *g, uint32_t change)
{
	uint32_t *busy = &this_cpu(g)->area_arm64.busy;

	write_shared(busy, read_shared(busy) + change);
}

void apf_guest_arm64_busy_begin(struct apf_guest *g)
{
	add_busy(g, 1);
}

void apf_guest_arm64_busy_end(struct apf_guest *g)
{
	add_busy(g, -1u);
}

static bool is_ours(uint64_t esr)
{
	return (ESR_CLASS(esr) == CLASS_ABORT_EL0 || ESR_CLASS(esr) == CLASS_ABORT_EL1) &&
	       ESR_DFSC(esr) == APF_ARM64_DFSC;
}

/* An abort here may have destroyed the ELR and FAR of another exception (A6, A11, L8). */
static bool cannot_take(const struct apf_guest *g, const struct apf_guest_cpu *c,
			const struct apf_guest_arm64_trap *t)
{
	for (uint32_t i = 0; i < g->regions; i++)
		if (t->pc - g->region[i].start < g->region[i].size)
			return true;
	return !t->irqs_on || (g->keeps_busy && read_shared(&c->area_arm64.busy));
}

/* Both make an abort a notification: the syndrome and the reason (A12). */
enum apf_guest_pf apf_guest_arm64_notice(struct apf_guest *g, const struct apf_guest_arm64_trap *t,
					 struct apf_guest_notice *n)
{
	const struct apf_guest_cpu *c = this_cpu(g);
	struct apf_guest_said said = {
		.address = t->far, .user = ESR_CLASS(t->esr) == CLASS_ABORT_EL0,
		.may_be_ready = g->abi == APF_GUEST_ARM64_ABORT,
	};

	if (!c->area.enabled || !is_ours(t->esr))
		return APF_GUEST_PF_ORDINARY;
	said.reason = read_shared(&c->area.reason);
	if (said.reason == APF_ARM64_REASON_NONE)
		return APF_GUEST_PF_ORDINARY;
	if (cannot_take(g, c, t))
		return APF_GUEST_PF_BROKEN;
	return apf_guest_take_exception(g, &said, &arm64, n);
}

enum apf_guest_pf apf_guest_arm64_abort(struct apf_guest *g, const struct apf_guest_arm64_trap *t,
					struct apf_guest_waiter *w)
{
	struct apf_guest_notice n;

	return apf_guest_finish(g, apf_guest_arm64_notice(g, t, &n), &n, w);
}

void apf_guest_arm64_ready(struct apf_guest *g)
{
	g->ops->eoi(g->ctx);
	if (this_cpu(g)->area.enabled && g->abi == APF_GUEST_ARM64_INT)
		apf_guest_take_token_word(g, &arm64);
}
