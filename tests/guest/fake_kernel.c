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

/* A13: what the library leaves in the upper halves, a host would have to refuse. */
static uint64_t halves(const uint64_t x[2])
{
	if (x[0] >> 32 || x[1] >> 32)
		__builtin_trap();
	return x[0] | x[1] << 32;
}

static void op_hvc(void *ctx, const uint64_t x[7], uint64_t r[4])
{
	struct fake_kernel *k = ctx;
	uint64_t what = halves(&x[1]);
	uint32_t op = (uint32_t)(what >> APF_ARM64_OP_SHIFT);

	memset(r, 0, 4 * sizeof(*r));
	if (x[0] == APF_ARM64_FN_FEATURES) {
		memcpy(r, k->features, sizeof(k->features));
		return;
	}
	if (x[0] != APF_ARM64_FN_APF)
		__builtin_trap();
	note(k, FAKE_HVC, op, what);
	k->log[(k->logged - 1) % FAKE_LOG].start = halves(&x[3]);
	k->log[(k->logged - 1) % FAKE_LOG].size = halves(&x[5]);
	if (op == APF_ARM64_OP_INFO)
		memcpy(r, k->info, sizeof(k->info));
	if (k->refusal && what == k->refused_call)
		r[0] = (uint64_t)k->refusal;
}

static void op_eoi(void *ctx)
{
	note(ctx, FAKE_EOI, 0, 0);
}

const struct apf_guest_ops fake_ops = {
	.cpu = op_cpu, .alloc = op_alloc, .can_sleep = op_can_sleep, .sleep = op_sleep,
	.wake = op_wake, .halt = op_halt, .trace = op_trace, .wrmsr = op_wrmsr,
	.cpuid = op_cpuid, .hvc = op_hvc, .eoi = op_eoi,
};

void fake_boot(struct fake_kernel *k)
{
	memset(k, 0, sizeof(*k));
	if (apf_guest_init(&k->guest, &fake_ops, k, FAKE_CPUS))
		__builtin_trap();
	k->guest.vector = 0xf3;
}

static bool is_arm64(const struct fake_kernel *k)
{
	return k->guest.abi >= APF_GUEST_ARM64_ABORT;
}

void fake_start(struct fake_kernel *k, enum apf_guest_abi abi, bool send_always)
{
	fake_boot(k);
	k->guest.abi = abi;
	k->guest.send_always = send_always;
	for (k->cpu = FAKE_CPUS; k->cpu-- > 0;)
		if (fake_enable(k))
			__builtin_trap();
	k->cpu = 0;
	k->logged = 0;
}

int fake_enable(struct fake_kernel *k)
{
	return is_arm64(k) ? apf_guest_arm64_enable(&k->guest) : apf_guest_x86_enable(&k->guest);
}

void fake_disable(struct fake_kernel *k)
{
	if (is_arm64(k))
		apf_guest_arm64_disable(&k->guest);
	else
		apf_guest_x86_disable(&k->guest);
}

static struct apf_guest_x86_trap x86_trap(const struct fake_fault *f)
{
	return (struct apf_guest_x86_trap){ .cr2 = f->address, .user = f->user,
					    .irqs_on = f->irqs_on };
}

static struct apf_guest_arm64_trap arm64_trap(const struct fake_fault *f)
{
	return (struct apf_guest_arm64_trap){
		.far = f->address, .esr = f->user ? APF_ARM64_ESR_EL0 : APF_ARM64_ESR_EL1,
		.pc = 0x1000, .irqs_on = f->irqs_on };
}

enum apf_guest_pf fake_notice(struct fake_kernel *k, const struct fake_fault *f,
			      struct apf_guest_notice *n)
{
	const struct apf_guest_x86_trap x86 = x86_trap(f);
	const struct apf_guest_arm64_trap arm64 = arm64_trap(f);

	return is_arm64(k) ? apf_guest_arm64_notice(&k->guest, &arm64, n) :
			     apf_guest_x86_notice(&k->guest, &x86, n);
}

enum apf_guest_pf fake_fault(struct fake_kernel *k, const struct fake_fault *f)
{
	const struct apf_guest_x86_trap x86 = x86_trap(f);
	const struct apf_guest_arm64_trap arm64 = arm64_trap(f);
	struct apf_guest_waiter w;

	return is_arm64(k) ? apf_guest_arm64_abort(&k->guest, &arm64, &w) :
			     apf_guest_x86_page_fault(&k->guest, &x86, &w);
}

void fake_ready_interrupt(struct fake_kernel *k)
{
	if (is_arm64(k))
		apf_guest_arm64_ready(&k->guest);
	else
		apf_guest_x86_ready(&k->guest);
}

bool fake_ready_is_exception(const struct fake_kernel *k)
{
	return k->guest.abi == APF_GUEST_X86_2010 || k->guest.abi == APF_GUEST_ARM64_ABORT;
}

enum apf_guest_pf fake_np(struct fake_kernel *k, uint32_t token, struct apf_guest_notice *n)
{
	const struct fake_fault fault = { .address = token, .user = true, .irqs_on = true };

	fake_cpu(k)->area.reason = APF_REASON_NP;
	return fake_notice(k, &fault, n);
}

enum apf_guest_pf fake_np_waits(struct fake_kernel *k, uint32_t token, struct apf_guest_waiter *w)
{
	struct apf_guest_notice n;
	enum apf_guest_pf found = fake_np(k, token, &n);

	return found == APF_GUEST_PF_WAIT ? apf_guest_wait(&k->guest, &n, w) : found;
}

void fake_ready(struct fake_kernel *k, uint32_t token)
{
	const struct fake_fault fault = { .address = token, .irqs_on = true };
	struct apf_guest_notice n;

	if (fake_ready_is_exception(k) || k->guest.abi == APF_GUEST_X86_RFC)
		fake_cpu(k)->area.reason = APF_REASON_READY;
	if (fake_ready_is_exception(k)) {
		fake_notice(k, &fault, &n);
		return;
	}
	fake_cpu(k)->area.token = token;
	fake_ready_interrupt(k);
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

uint32_t fake_find_off(const struct fake_kernel *k)
{
	const uint64_t arm64_off = (uint64_t)APF_ARM64_OP_ENABLE << APF_ARM64_OP_SHIFT;
	uint32_t i = 0;

	for (; i < k->logged; i++)
		if ((k->log[i].act == FAKE_WRMSR && k->log[i].a == APF_MSR_EN && !k->log[i].b) ||
		    (k->log[i].act == FAKE_HVC && k->log[i].b == arm64_off))
			return i;
	return FAKE_LOG;
}
