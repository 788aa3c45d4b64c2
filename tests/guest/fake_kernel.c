/* SPDX-License-Identifier: MIT */
/* The fake kernel, see fake_kernel.h. */
#include <string.h>

#include "fake_kernel.h"

#define PHYS_BASE 0x100000ull

struct apf_guest_cpu *fake_cpu(struct fake_kernel *k)
{
	return k->guest.cpu[k->cpu];
}

static void note(struct fake_kernel *k, enum fake_act act, uint32_t a, uint64_t b)
{
	struct fake_entry *e = &k->log[k->logged % FAKE_LOG];

	*e = (struct fake_entry){ .act = act, .a = a, .b = b };
	if (k->guest.cpu && fake_cpu(k)) {
		e->reason = fake_cpu(k)->area.reason;
		e->token = fake_cpu(k)->area.token;
	}
	k->logged++;
}

static uint32_t op_cpu(void *ctx)
{
	return ((struct fake_kernel *)ctx)->cpu;
}

static void *op_alloc(void *ctx, size_t size, uint64_t *phys)
{
	struct fake_kernel *k = ctx;
	void *memory = k->memory + k->used;

	if (size > sizeof(k->memory) - k->used)
		return NULL;
	*phys = PHYS_BASE + k->used;
	k->used += (size + 63) & ~63ull;
	return memory;
}

static bool op_can_sleep(void *ctx)
{
	return !((struct fake_kernel *)ctx)->no_sleep;
}

/* The ready comes while the task sleeps, at the latest now: it must not return before. */
static void op_sleep(void *ctx, struct apf_guest_waiter *w)
{
	note(ctx, FAKE_SLEEP, w->token, 0);
	fake_ready(ctx, w->token);
}

static void op_wake(void *ctx, struct apf_guest_waiter *w)
{
	note(ctx, FAKE_WAKE, w->token, 0);
	/* As it may be in a kernel: its task runs on at once and the stack is used again. */
	memset(w, 0xa5, sizeof(*w));
}

static void op_halt(void *ctx)
{
	struct fake_kernel *k = ctx;

	k->halts++;
	note(k, FAKE_HALT, 0, 0);
	if (k->on_halt)
		k->on_halt(k);
}

static void op_trace(void *ctx, enum apf_guest_event ev, uint32_t cpu, uint32_t token)
{
	note(ctx, FAKE_EVENT, ev, token);
}

static int op_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	struct fake_kernel *k = ctx;

	note(k, FAKE_WRMSR, msr, value);
	return msr == k->refused_msr && (!k->refused_bits || value & k->refused_bits);
}

static void op_cpuid(void *ctx, uint32_t leaf, uint32_t r[4])
{
	struct fake_kernel *k = ctx;

	memset(r, 0, 4 * sizeof(*r));
	if (leaf == 1 && !k->no_hypervisor)
		r[2] = 1u << 31;
	/* Another hypervisor's interface comes first. */
	if (leaf == 0x40000000)
		memcpy(&r[1], "Microsoft Hv", 12);
	if (leaf == 0x40000100)
		memcpy(&r[1], "KVMKVMKVM\0\0\0", 12);
	if (leaf == 0x40000101)
		r[0] = k->cpuid_features;
}

static void op_eoi(void *ctx)
{
	note(ctx, FAKE_EOI, 0, 0);
}

const struct apf_guest_ops fake_ops = {
	.cpu = op_cpu, .alloc = op_alloc, .can_sleep = op_can_sleep, .sleep = op_sleep,
	.wake = op_wake, .halt = op_halt, .trace = op_trace, .wrmsr = op_wrmsr,
	.cpuid = op_cpuid, .eoi = op_eoi,
};

void fake_boot(struct fake_kernel *k)
{
	memset(k, 0, sizeof(*k));
	if (apf_guest_init(&k->guest, &fake_ops, k, FAKE_CPUS))
		__builtin_trap();
	k->guest.vector = 0xf3;
}

void fake_start(struct fake_kernel *k, enum apf_guest_abi abi, bool send_always)
{
	fake_boot(k);
	k->guest.abi = abi;
	k->guest.send_always = send_always;
	for (k->cpu = FAKE_CPUS; k->cpu-- > 0;)
		if (apf_guest_x86_enable(&k->guest))
			__builtin_trap();
	k->cpu = 0;
	k->logged = 0;
}

enum apf_guest_pf fake_np(struct fake_kernel *k, uint32_t token, struct apf_guest_notice *n)
{
	const struct apf_guest_x86_trap trap = { .cr2 = token, .user = true, .irqs_on = true };

	fake_cpu(k)->area.reason = APF_REASON_NP;
	return apf_guest_x86_notice(&k->guest, &trap, n);
}

enum apf_guest_pf fake_np_waits(struct fake_kernel *k, uint32_t token, struct apf_guest_waiter *w)
{
	struct apf_guest_notice n;
	enum apf_guest_pf found = fake_np(k, token, &n);

	return found == APF_GUEST_PF_WAIT ? apf_guest_wait(&k->guest, &n, w) : found;
}

void fake_ready(struct fake_kernel *k, uint32_t token)
{
	const struct apf_guest_x86_trap trap = { .cr2 = token, .irqs_on = true };
	struct apf_guest_notice n;

	if (k->guest.abi != APF_GUEST_X86_INT)
		fake_cpu(k)->area.reason = APF_REASON_READY;
	if (k->guest.abi == APF_GUEST_X86_2010) {
		apf_guest_x86_notice(&k->guest, &trap, &n);
		return;
	}
	fake_cpu(k)->area.token = token;
	apf_guest_x86_ready(&k->guest);
}

uint32_t fake_find(const struct fake_kernel *k, enum fake_act act, uint32_t a)
{
	for (uint32_t i = 0; i < k->logged; i++)
		if (k->log[i].act == act && k->log[i].a == a)
			return i;
	return FAKE_LOG;
}

uint32_t fake_count(const struct fake_kernel *k, enum fake_act act, uint32_t a)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < k->logged; i++)
		count += k->log[i].act == act && k->log[i].a == a;
	return count;
}
