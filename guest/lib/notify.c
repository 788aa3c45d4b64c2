/* SPDX-License-Identifier: MIT */
/*
 * What is the same in all generations and on all architectures: a CPU's APF on and
 * off, what an exception says, and the ready interrupt with a token word of its own.
 */
#include "core.h"

#define SAME_PLACE(field) _Static_assert(offsetof(struct apf_area_x86, field) == \
					 offsetof(struct apf_area_arm64, field), #field)

SAME_PLACE(reason);
SAME_PLACE(token);
SAME_PLACE(enabled);
_Static_assert(APF_REASON_NP == APF_ARM64_REASON_NP, "NP");
_Static_assert(APF_REASON_READY == APF_ARM64_REASON_READY, "ready");

static void clear_area(struct apf_guest_cpu *c)
{
	write_shared(&c->area.reason, APF_REASON_NONE);
	write_shared(&c->area.token, 0);
}

int apf_guest_enable(struct apf_guest *g, const struct apf_guest_arch *arch)
{
	struct apf_guest_cpu *c = this_cpu(g);

	if (c->area.enabled)
		apf_guest_disable(g, arch);
	clear_area(c);
	/* Before the host is told: what enabling sends may come at once. */
	c->area.enabled = 1;
	if (arch->switch_on(g, c))
		return 0;
	c->area.enabled = 0;
	return -APF_GUEST_EIO;
}

void apf_guest_disable(struct apf_guest *g, const struct apf_guest_arch *arch)
{
	struct apf_guest_cpu *c = this_cpu(g);

	if (!c->area.enabled)
		return;
	arch->switch_off(g);
	c->area.enabled = 0;
	clear_area(c);
	apf_guest_forget_early(c);
	apf_guest_wake_all(g, c);
}

/*
 * There is a ready that cannot be remembered, so its NP, still to come, could
 * not be told from others. Off and on again: the host forgets that NP, and all
 * who wait look for themselves.
 */
void apf_guest_restart(struct apf_guest *g, struct apf_guest_cpu *c,
		       const struct apf_guest_arch *arch)
{
	apf_guest_trace(g, APF_GUEST_EV_RESTART, c->id, 0);
	apf_guest_disable(g, arch);
	apf_guest_enable(g, arch);
}

/* Tokens have 32 bits, zero-extended, and are never 0; an NP's is never the broadcast (C6, C8). */
static bool may_be_token(uint64_t address)
{
	return address && address <= UINT32_MAX;
}

static enum apf_guest_pf reject(struct apf_guest *g, struct apf_guest_cpu *c, uint64_t address)
{
	apf_guest_trace(g, APF_GUEST_EV_REJECTED, c->id, (uint32_t)address);
	return APF_GUEST_PF_RETRY;
}

static enum apf_guest_pf take_np(struct apf_guest *g, struct apf_guest_cpu *c,
				 const struct apf_guest_said *said, struct apf_guest_notice *n)
{
	if (said->address == APF_TOKEN_BROADCAST || (!said->user && !g->send_always))
		return reject(g, c, said->address);
	n->token = (uint32_t)said->address;
	n->cpu = c->id;
	n->epoch = c->epoch;
	apf_guest_trace(g, APF_GUEST_EV_NP, c->id, n->token);
	return APF_GUEST_PF_WAIT;
}

enum apf_guest_pf apf_guest_take_exception(struct apf_guest *g, const struct apf_guest_said *said,
					   const struct apf_guest_arch *arch,
					   struct apf_guest_notice *n)
{
	struct apf_guest_cpu *c = this_cpu(g);

	write_shared(&c->area.reason, APF_REASON_NONE);
	if (said->odd || !may_be_token(said->address))
		return reject(g, c, said->address);
	if (said->reason == APF_REASON_NP)
		return take_np(g, c, said, n);
	if (said->reason != APF_REASON_READY || !said->may_be_ready)
		return reject(g, c, said->address);
	if (!apf_guest_take_ready(g, c, (uint32_t)said->address))
		apf_guest_restart(g, c, arch);
	return APF_GUEST_PF_RETRY;
}

enum apf_guest_pf apf_guest_finish(struct apf_guest *g, enum apf_guest_pf found,
				   const struct apf_guest_notice *n, struct apf_guest_waiter *w)
{
	if (found != APF_GUEST_PF_WAIT)
		return found;
	if (apf_guest_wait(g, n, w) == APF_GUEST_PF_WAIT)
		apf_guest_sleep(g, w);
	return APF_GUEST_PF_RETRY;
}

void apf_guest_take_token_word(struct apf_guest *g, const struct apf_guest_arch *arch)
{
	struct apf_guest_cpu *c = this_cpu(g);
	uint32_t token = read_shared(&c->area.token);
	bool remembered;

	if (!token)
		return;
	remembered = apf_guest_take_ready(g, c, token);
	write_shared(&c->area.token, 0);
	arch->ack(g);
	if (!remembered)
		apf_guest_restart(g, c, arch);
}
