/* SPDX-License-Identifier: MIT */
/*
 * The three x86 generations, from the guest's side: discovery, enabling, and
 * what a #PF or the ready interrupt says. Rows L, I and N of docs/protocol.md.
 */
#include "core.h"

#define CPUID_FEATURES		1u
#define CPUID_ECX_HYPERVISOR	(1u << 31)
#define CPUID_BASE_FIRST	0x40000000u
#define CPUID_BASE_LAST		0x4000ff00u
#define CPUID_BASE_STEP		0x100u

/* "KVMKVMKVM", in EBX, ECX and EDX of the base leaf. */
#define SIGNATURE_EBX		0x4b4d564bu
#define SIGNATURE_ECX		0x564b4d56u
#define SIGNATURE_EDX		0x0000004du

/* KVM's leaves move up when the host offers another hypervisor's interface as well. */
static uint32_t find_features(struct apf_guest *g)
{
	uint32_t r[4];

	g->ops->cpuid(g->ctx, CPUID_FEATURES, r);
	if (!(r[2] & CPUID_ECX_HYPERVISOR))
		return 0;
	for (uint32_t base = CPUID_BASE_FIRST; base <= CPUID_BASE_LAST; base += CPUID_BASE_STEP) {
		g->ops->cpuid(g->ctx, base, r);
		if (r[1] != SIGNATURE_EBX || r[2] != SIGNATURE_ECX || r[3] != SIGNATURE_EDX)
			continue;
		g->ops->cpuid(g->ctx, base + (APF_CPUID_LEAF - CPUID_BASE_FIRST), r);
		return r[0];
	}
	return 0;
}

static bool wrmsr(struct apf_guest *g, uint32_t msr, uint64_t value)
{
	return g->ops->wrmsr(g->ctx, msr, value) == 0;
}

enum apf_guest_abi apf_guest_x86_detect(struct apf_guest *g)
{
	uint32_t features = find_features(g);

	if (!(features & APF_CPUID_ASYNC_PF))
		return APF_GUEST_OFF;
	if (features & APF_CPUID_INT)
		return APF_GUEST_X86_INT;
	/* I8: bit 3 without bit 0 changes nothing where it is known, and is reserved in 2010. */
	if (!wrmsr(g, APF_MSR_EN, APF_EN_INT))
		return APF_GUEST_X86_2010;
	wrmsr(g, APF_MSR_EN, 0);
	return APF_GUEST_X86_RFC;
}

static void clear_area(struct apf_guest_cpu *c)
{
	write_shared(&c->area.reason, APF_REASON_NONE);
	write_shared(&c->area.token, 0);
}

/* The vector comes first, so that the wake-all of enabling finds it (I3, N9). */
static bool write_controls(struct apf_guest *g, struct apf_guest_cpu *c)
{
	uint64_t en = c->phys | APF_EN_ENABLED;

	if (g->send_always)
		en |= APF_EN_SEND_ALWAYS;
	if (g->abi != APF_GUEST_X86_2010)
		en |= APF_EN_INT;
	if (g->abi == APF_GUEST_X86_RFC && !wrmsr(g, APF_MSR_INT, g->vector | APF_PF2_ENABLED))
		return false;
	if (g->abi == APF_GUEST_X86_INT && !wrmsr(g, APF_MSR_INT, g->vector))
		return false;
	return wrmsr(g, APF_MSR_EN, en);
}

int apf_guest_x86_enable(struct apf_guest *g)
{
	struct apf_guest_cpu *c = this_cpu(g);

	if (g->abi == APF_GUEST_OFF)
		return -APF_GUEST_EINVAL;
	if (c->area.enabled)
		apf_guest_x86_disable(g);
	clear_area(c);
	/* Before the write: what enabling sends may come at once. */
	c->area.enabled = 1;
	if (write_controls(g, c))
		return 0;
	c->area.enabled = 0;
	return -APF_GUEST_EIO;
}

void apf_guest_x86_disable(struct apf_guest *g)
{
	struct apf_guest_cpu *c = this_cpu(g);

	if (!c->area.enabled)
		return;
	wrmsr(g, APF_MSR_EN, 0);
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
static void restart(struct apf_guest *g, struct apf_guest_cpu *c)
{
	apf_guest_trace(g, APF_GUEST_EV_RESTART, c->id, 0);
	apf_guest_x86_disable(g);
	apf_guest_x86_enable(g);
}

/* Tokens have 32 bits, zero-extended, and are never 0; an NP's is never the broadcast (C6, C8). */
static bool may_be_token(uint64_t cr2)
{
	return cr2 && cr2 <= UINT32_MAX;
}

static enum apf_guest_pf reject(struct apf_guest *g, struct apf_guest_cpu *c, uint64_t cr2)
{
	apf_guest_trace(g, APF_GUEST_EV_REJECTED, c->id, (uint32_t)cr2);
	return APF_GUEST_PF_RETRY;
}

static enum apf_guest_pf take_np(struct apf_guest *g, struct apf_guest_cpu *c,
				 const struct apf_guest_x86_trap *t, struct apf_guest_notice *n)
{
	if (t->cr2 == APF_TOKEN_BROADCAST || (!t->user && !g->send_always))
		return reject(g, c, t->cr2);
	n->token = (uint32_t)t->cr2;
	n->cpu = c->id;
	n->epoch = c->epoch;
	apf_guest_trace(g, APF_GUEST_EV_NP, c->id, n->token);
	return APF_GUEST_PF_WAIT;
}

/*
 * The reason is the only thing that makes a #PF a notification. One that is set
 * wrongly is cleared and the access repeated: had it been a real fault, it comes
 * back as one. Only where interrupts were off (L8) is that not enough: a #PF
 * there may have destroyed the CR2 of another that was being handled.
 */
enum apf_guest_pf apf_guest_x86_notice(struct apf_guest *g, const struct apf_guest_x86_trap *t,
				       struct apf_guest_notice *n)
{
	struct apf_guest_cpu *c = this_cpu(g);
	uint32_t reason;

	if (!c->area.enabled)
		return APF_GUEST_PF_ORDINARY;
	reason = read_shared(&c->area.reason);
	if (reason == APF_REASON_NONE)
		return APF_GUEST_PF_ORDINARY;
	if (reason == APF_REASON_READY && g->abi == APF_GUEST_X86_RFC)
		return APF_GUEST_PF_ORDINARY;
	if (!t->irqs_on)
		return APF_GUEST_PF_BROKEN;
	write_shared(&c->area.reason, APF_REASON_NONE);
	if (t->error_code || !may_be_token(t->cr2))
		return reject(g, c, t->cr2);
	if (reason == APF_REASON_NP)
		return take_np(g, c, t, n);
	if (reason != APF_REASON_READY || g->abi != APF_GUEST_X86_2010)
		return reject(g, c, t->cr2);
	if (!apf_guest_take_ready(g, c, (uint32_t)t->cr2))
		restart(g, c);
	return APF_GUEST_PF_RETRY;
}

enum apf_guest_pf apf_guest_x86_page_fault(struct apf_guest *g,
					   const struct apf_guest_x86_trap *t,
					   struct apf_guest_waiter *w)
{
	struct apf_guest_notice n;
	enum apf_guest_pf found = apf_guest_x86_notice(g, t, &n);

	if (found != APF_GUEST_PF_WAIT)
		return found;
	if (apf_guest_wait(g, &n, w) == APF_GUEST_PF_WAIT)
		apf_guest_sleep(g, w);
	return APF_GUEST_PF_RETRY;
}

/* I7: the reason may be an NP's only in the #PF handler; here it is left alone. */
static void ready_rfc(struct apf_guest *g, struct apf_guest_cpu *c)
{
	uint32_t token;
	bool remembered = true;

	if (read_shared(&c->area.reason) != APF_REASON_READY)
		return;
	token = read_shared(&c->area.token);
	if (token)
		remembered = apf_guest_take_ready(g, c, token);
	write_shared(&c->area.reason, APF_REASON_NONE);
	if (!remembered)
		restart(g, c);
}

static void ready_int(struct apf_guest *g, struct apf_guest_cpu *c)
{
	uint32_t token = read_shared(&c->area.token);
	bool remembered;

	if (!token)
		return;
	remembered = apf_guest_take_ready(g, c, token);
	write_shared(&c->area.token, 0);
	wrmsr(g, APF_MSR_ACK, APF_ACK_LOOK);
	if (!remembered)
		restart(g, c);
}

void apf_guest_x86_ready(struct apf_guest *g)
{
	struct apf_guest_cpu *c = this_cpu(g);

	g->ops->eoi(g->ctx);
	if (!c->area.enabled)
		return;
	if (g->abi == APF_GUEST_X86_RFC)
		ready_rfc(g, c);
	if (g->abi == APF_GUEST_X86_INT)
		ready_int(g, c);
}
