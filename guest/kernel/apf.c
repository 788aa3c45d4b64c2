/* SPDX-License-Identifier: MIT */
/*
 * libapf-guest in this kernel: the table of functions, the three places where it is
 * called (a fault, the ready interrupt, a CPU's start), and, on demand, a guest that
 * does not keep to the protocol.
 */
#include "kernel.h"

struct apf_guest apf_guest;

static enum apf_guest_abi refused;
static bool misbehaving;		/* as option.bad says, while a job runs */
static bool want_enabled;
static uint32_t control_pending;	/* CPUs that have not done it yet */

/* --- what the library asks of the kernel --- */

static uint32_t op_cpu(void *ctx)
{
	return this_cpu()->id;
}

static void *op_alloc(void *ctx, size_t size, uint64_t *phys)
{
	void *memory = memory_take(size, 64);

	*phys = (uintptr_t)memory;
	return memory;
}

/* Idle tasks have preemption off for good. */
static bool op_can_sleep(void *ctx)
{
	return !current()->no_preempt;
}

static void op_sleep(void *ctx, struct apf_guest_waiter *w)
{
	struct apf_wait *wait = (struct apf_wait *)w;

	sched_lock();
	while (!wait->woken)
		sched_block();
	sched_unlock();
}

static void op_wake(void *ctx, struct apf_guest_waiter *w)
{
	struct apf_wait *wait = (struct apf_wait *)w;

	sched_lock();
	wait->woken = true;
	sched_wake(wait->task);
	sched_unlock();
}

static void op_halt(void *ctx)
{
	irq_on_and_halt();
	irq_off();
}

static void op_trace(void *ctx, enum apf_guest_event ev, uint32_t cpu, uint32_t token)
{
	cpus[cpu].counts[ev]++;
	events_add(ev, cpu, token);
}

static struct apf_guest_ops ops = {
	.cpu = op_cpu, .alloc = op_alloc, .can_sleep = op_can_sleep, .sleep = op_sleep,
	.wake = op_wake, .halt = op_halt, .trace = op_trace,
};

/* --- start --- */

void apf_init(void)
{
	enum apf_guest_abi offered;

	arch_apf_ops(&ops);
	if (apf_guest_init(&apf_guest, &ops, NULL, nr_cpus))
		die("apf_guest_init");
	apf_guest.vector = (uint8_t)option.vector;
	apf_guest.send_always = option.always;
	if (option.abi == APF_GUEST_OFF)
		return;
	offered = apf_calls.detect(&apf_guest);
	apf_guest.abi = offered;
	if (option.abi != ABI_AUTO && option.abi != offered)
		refused = option.abi;
	else if (offered != APF_GUEST_OFF && apf_calls.enable(&apf_guest))
		refused = offered;
	if (refused != APF_GUEST_OFF)
		apf_guest.abi = APF_GUEST_OFF;
}

enum apf_guest_abi apf_abi(void)
{
	return apf_guest.abi;
}

enum apf_guest_abi apf_refused(void)
{
	return refused;
}

const struct apf_guest_cpu *apf_this_cpu(void)
{
	return apf_guest.cpu[this_cpu()->id];
}

void apf_start_cpu(void)
{
	if (apf_guest.abi != APF_GUEST_OFF && apf_calls.enable(&apf_guest))
		die("enabling was refused on one processor only");
}

/* --- notifications --- */

/* Does this guest ignore readies now? */
static bool is_deaf(void)
{
	return misbehaving && option.bad == BAD_NOACK;
}

bool apf_ignores_exception(void)
{
	return is_deaf() && apf_guest.abi == apf_calls.ready_by_exception &&
	       apf_this_cpu()->area.reason == APF_REASON_READY;
}

void apf_ready_interrupt(void)
{
	if (is_deaf())
		apf_calls.ignore_ready();
	else
		apf_calls.ready(&apf_guest);
}

/* --- control of all CPUs --- */

void apf_control_interrupt(void)
{
	if (!want_enabled)
		apf_calls.disable(&apf_guest);
	else if (!apf_this_cpu()->area.enabled)
		apf_start_cpu();
	__atomic_fetch_sub(&control_pending, 1, __ATOMIC_SEQ_CST);
}

void apf_set_enabled(bool enabled)
{
	want_enabled = enabled;
	__atomic_store_n(&control_pending, nr_cpus, __ATOMIC_SEQ_CST);
	smp_control();
	while (__atomic_load_n(&control_pending, __ATOMIC_ACQUIRE))
		cpu_relax();
}

/* --- misbehaviour --- */

void apf_misbehave(bool on)
{
	misbehaving = on && option.bad != BAD_NONE;
}

bool apf_misbehaves(void)
{
	return misbehaving;
}

static uint32_t garbage(struct cpu *cpu)
{
	static const uint32_t likely[] = { APF_REASON_NONE, APF_REASON_NP, APF_REASON_READY,
					   APF_TOKEN_BROADCAST };
	uint32_t random;

	cpu->random = cpu->random * 6364136223846793005ull + clock_now();
	random = (uint32_t)(cpu->random >> 32);
	return random & 4 ? random : likely[random & 3];
}

void apf_tick(void)
{
	struct apf_guest_cpu *c = apf_guest.cpu[this_cpu()->id];

	if (!misbehaving || apf_guest.abi == APF_GUEST_OFF)
		return;
	if (option.bad == BAD_STORM) {
		apf_calls.disable(&apf_guest);
		apf_start_cpu();
	}
	if (option.bad == BAD_GARBAGE) {
		for (uint32_t i = 0; i < apf_calls.words; i++)
			(&c->area.reason)[i] = garbage(this_cpu());
		apf_calls.garbage_ack(garbage(this_cpu()));
	}
}
