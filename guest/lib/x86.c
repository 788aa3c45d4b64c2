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

/* The RFC's guests write EN first; the wake-all of enabling waits for PF2 (I3). */
static bool switch_on_rfc(struct apf_guest *g, uint64_t en)
{
	if (!wrmsr(g, APF_MSR_EN, en))
		return false;
	if (wrmsr(g, APF_MSR_INT, g->vector | APF_PF2_ENABLED))
		return true;
	wrmsr(g, APF_MSR_EN, 0);
	return false;
}

/* INT: the vector comes first, so that the wake-all of enabling finds it (N9). */
static bool switch_on(struct apf_guest *g, struct apf_guest_cpu *c)
{
	uint64_t en = c->phys | APF_EN_ENABLED;

	if (g->send_always)
		en |= APF_EN_SEND_ALWAYS;
	if (g->abi != APF_GUEST_X86_2010)
		en |= APF_EN_INT;
	if (g->abi == APF_GUEST_X86_RFC)
		return switch_on_rfc(g, en);
	if (g->abi == APF_GUEST_X86_INT && !wrmsr(g, APF_MSR_INT, g->vector))
		return false;
	return wrmsr(g, APF_MSR_EN, en);
}

static void switch_off(struct apf_guest *g)
{
	wrmsr(g, APF_MSR_EN, 0);
}

static void ack(struct apf_guest *g)
{
	wrmsr(g, APF_MSR_ACK, APF_ACK_LOOK);
}

static const struct apf_guest_arch x86 = {
	.switch_on = switch_on, .switch_off = switch_off, .ack = ack,
};

int apf_guest_x86_enable(struct apf_guest *g)
{
	return g->abi == APF_GUEST_OFF ? -APF_GUEST_EINVAL : apf_guest_enable(g, &x86);
}

void apf_guest_x86_disable(struct apf_guest *g)
{
	apf_guest_disable(g, &x86);
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
	const struct apf_guest_cpu *c = this_cpu(g);
	struct apf_guest_said said = {
		.address = t->cr2, .user = t->user, .odd = t->error_code,
		.may_be_ready = g->abi == APF_GUEST_X86_2010,
	};

	if (!c->area.enabled)
		return APF_GUEST_PF_ORDINARY;
	said.reason = read_shared(&c->area.reason);
	if (said.reason == APF_REASON_NONE)
		return APF_GUEST_PF_ORDINARY;
	if (said.reason == APF_REASON_READY && g->abi == APF_GUEST_X86_RFC)
		return APF_GUEST_PF_ORDINARY;
	if (!t->irqs_on)
		return APF_GUEST_PF_BROKEN;
	return apf_guest_take_exception(g, &said, &x86, n);
}

enum apf_guest_pf apf_guest_x86_page_fault(struct apf_guest *g,
					   const struct apf_guest_x86_trap *t,
					   struct apf_guest_waiter *w)
{
	struct apf_guest_notice n;

	return apf_guest_finish(g, apf_guest_x86_notice(g, t, &n), &n, w);
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
		apf_guest_restart(g, c, &x86);
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
		apf_guest_take_token_word(g, &x86);
}
