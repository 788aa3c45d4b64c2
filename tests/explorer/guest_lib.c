/* SPDX-License-Identifier: MIT */
/*
 * A guest of the explorer's machine with libapf-guest itself, for all generations. The
 * library works on objects at fixed addresses; their bytes are part of the state and
 * are copied in and out around each step. A #PF is taken in two steps, as by a kernel
 * that enables interrupts between reading the notification and waiting (L9).
 */
#include <string.h>

#include "model.h"

static struct apf_guest_cpu live_cpu[VCPUS];
static struct apf_guest_waiter live_waiter[TASKS];
static struct apf_guest_cpu *cpus[VCPUS] = { &live_cpu[0], &live_cpu[1] };
static unsigned int current;

static const struct apf_guest_ops ops;
static struct apf_guest guest = { .ops = &ops, .cpu = cpus, .cpus = VCPUS, .vector = VECTOR,
				 .keeps_busy = true };
static bool pages_before_ack;

/* The words that the host has at hand, and the library's: the same memory. */
static void area_in(unsigned int c)
{
	live_cpu[c].area.reason = now->cpu[c].reason;
	live_cpu[c].area.token = now->cpu[c].token;
	live_cpu[c].area_arm64.busy = now->cpu[c].busy;
}

static void area_out(unsigned int c)
{
	now->cpu[c].reason = live_cpu[c].area.reason;
	now->cpu[c].token = live_cpu[c].area.token;
	now->cpu[c].busy = live_cpu[c].area_arm64.busy;
}

/* Call the library on this vCPU: first begin, then end. */
static void begin(unsigned int c)
{
	static const enum apf_guest_abi abis[] = {
		[APF_ABI_X86_INT] = APF_GUEST_X86_INT,
		[APF_ABI_X86_2010] = APF_GUEST_X86_2010,
		[APF_ABI_X86_RFC] = APF_GUEST_X86_RFC,
		[APF_ABI_ARM64] = APF_GUEST_ARM64_INT,
	};

	guest.abi = abis[scenario->abi];
	if (scenario->as_pf)
		guest.abi = is_arm() ? APF_GUEST_ARM64_ABORT : APF_GUEST_X86_2010;
	guest.send_always = scenario->always;
	current = c;
	area_in(c);
}

static void end(unsigned int c)
{
	area_out(c);
	now->cpu[c].enabled = live_cpu[c].area.enabled;
}

/* --- what the library asks for --- */

static uint32_t op_cpu(void *ctx)
{
	return current;
}

/* Kernel code that touches a page holds a lock. */
static bool op_can_sleep(void *ctx)
{
	return now->cpu[current].mode == USER;
}

static void op_wake(void *ctx, struct apf_guest_waiter *w)
{
	struct task *task = &now->task[w - live_waiter];

	if (task->state != SLEEPING)
		violate("a task is woken that does not sleep");
	*task = (struct task) { .state = RUNNABLE, .owed = task->owed };
}

static void op_eoi(void *ctx)
{
}

static int op_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	bool ok;

	area_out(current);
	ok = write_msr(current, msr, value);
	area_in(current);
	return ok ? 0 : -1;
}

/* Between the guest's clearing its token word and its ACK, the host may act. */
static void tell_pages(unsigned int c)
{
	for (unsigned int p = 0; p < PAGES; p++)
		if (now->cpu[c].untold & 1u << p)
			host_tell(c, p);
}

static void op_hvc(void *ctx, const uint64_t x[7], uint64_t r[4])
{
	area_out(current);
	if (pages_before_ack && x[2] >> 24 == APF_ARM64_OP_ACK)
		tell_pages(current);
	call_host(current, x + 1, r);
	if (r[0] && (int64_t)r[0] != APF_ARM64_NOT_REQUIRED)
		violate("a valid call was refused");
	area_in(current);
}

static void op_trace(void *ctx, enum apf_guest_event ev, uint32_t c, uint32_t token)
{
	const struct cpu *cpu = &now->cpu[c];

	if (ev == APF_GUEST_EV_REJECTED || ev == APF_GUEST_EV_RESTART)
		violate("the guest half was told what no correct host tells");
	if (ev == APF_GUEST_EV_EARLY && cpu->exception != token &&
	    !(cpu->noticed && now->lib.notice[c].token == token))
		violate("C2: a ready whose NP will never come");
}

static const struct apf_guest_ops ops = {
	.cpu = op_cpu, .can_sleep = op_can_sleep, .wake = op_wake, .trace = op_trace,
	.wrmsr = op_wrmsr, .hvc = op_hvc, .eoi = op_eoi,
};

/* --- what the machine asks for --- */

static void lib_load(const struct state *s)
{
	memcpy(live_cpu, s->lib.cpu, sizeof(live_cpu));
	memcpy(live_waiter, s->lib.waiter, sizeof(live_waiter));
}

#define OLD_EPOCH UINT32_MAX

/*
 * What makes no difference makes no state: of the epochs matters only whether a notice
 * is from before; the area is in struct cpu; what is not in use has any value.
 */
static void lib_store(struct state *s)
{
	for (unsigned int c = 0; c < VCPUS; c++) {
		struct apf_guest_notice *n = &s->lib.notice[c];
		struct apf_guest_cpu *g = &live_cpu[c];

		n->epoch = n->epoch == g->epoch ? 0 : OLD_EPOCH;
		if (!s->cpu[c].noticed)
			memset(n, 0, sizeof(*n));
		memset(g->early + g->nr_early, 0,
		       sizeof(g->early) - g->nr_early * sizeof(*g->early));
		g->epoch = g->area.reason = g->area.token = g->area_arm64.busy = 0;
	}
	for (unsigned int t = 0; t < TASKS; t++)
		if (!live_waiter[t].link)
			memset(&live_waiter[t], 0, sizeof(live_waiter[t]));
	memcpy(s->lib.cpu, live_cpu, sizeof(live_cpu));
	memcpy(s->lib.waiter, live_waiter, sizeof(live_waiter));
}

static void lib_enable(unsigned int c)
{
	begin(c);
	now->cpu[c].enabled = true;	/* what it is told before the call returns counts */
	if (is_arm() ? apf_guest_arm64_enable(&guest) : apf_guest_x86_enable(&guest))
		violate("enabling failed");
	end(c);
}

static void lib_disable(unsigned int c)
{
	begin(c);
	now->cpu[c].enabled = false;
	if (is_arm())
		apf_guest_arm64_disable(&guest);
	else
		apf_guest_x86_disable(&guest);
	end(c);
}

static void check_woken(unsigned int c, uint32_t token)
{
	for (unsigned int t = 0; t < scenario->tasks; t++) {
		uint8_t page = now->page[scenario->page_of[t]];

		if (scenario->cpu_of[t] == c && token && now->task[t].token == token &&
		    page != PRESENT && page != FAILED)
			violate("C1: a waiter was woken before its page had come");
	}
}

/* Outside all handlers the scheduler may pick another task. */
static void reschedule(struct cpu *cpu)
{
	if (cpu->mode == USER && !cpu->exception && !cpu->noticed && !cpu->halting)
		cpu->task = 0;
}

/* The hook of the exception that this vCPU takes. */
static enum apf_guest_pf notice_of(const struct cpu *cpu, struct apf_guest_notice *n)
{
	bool user = cpu->task && cpu->mode == USER && !cpu->noticed;
	bool irqs_on = !(cpu->task && cpu->mode == IRQS_OFF);
	const struct apf_guest_x86_trap pf = {
		.cr2 = cpu->exception, .user = user, .irqs_on = irqs_on,
	};
	const struct apf_guest_arm64_trap abort = {
		.far = cpu->exception, .esr = user ? APF_ARM64_ESR_EL0 : APF_ARM64_ESR_EL1,
		.irqs_on = irqs_on,
	};

	return is_arm() ? apf_guest_arm64_notice(&guest, &abort, n)
			: apf_guest_x86_notice(&guest, &pf, n);
}

static void lib_exception(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];
	enum apf_guest_pf found;
	bool np = cpu->reason == APF_REASON_NP;
	struct apf_guest_notice notice;

	if (np && (!cpu->task || now->task[cpu->task - 1].token != cpu->exception))
		violate("C1: the exception carries another token than was decided");
	if (!np)
		check_woken(c, cpu->exception);
	begin(c);
	found = notice_of(cpu, &notice);
	cpu->exception = 0;
	switch (found) {
	case APF_GUEST_PF_WAIT:
		now->lib.notice[c] = notice;
		cpu->noticed = cpu->task;
		break;
	case APF_GUEST_PF_RETRY:
		break;
	default:
		violate("the guest half took a notification for something else");
	}
	end(c);
	reschedule(cpu);
}

static void lib_wait(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];
	unsigned int t = cpu->noticed - 1u;
	struct task *task = &now->task[t];

	begin(c);
	cpu->noticed = 0;
	if (apf_guest_wait(&guest, &now->lib.notice[c], &live_waiter[t]) != APF_GUEST_PF_WAIT) {
		task->token = 0;
	} else if (live_waiter[t].halts) {
		cpu->halting = (uint8_t)(t + 1);
	} else {
		task->state = SLEEPING;
		cpu->task = 0;
	}
	end(c);
	reschedule(cpu);
}

static void lib_irq(unsigned int c, bool late_ack)
{
	struct cpu *cpu = &now->cpu[c];

	check_woken(c, cpu->token);
	begin(c);
	pages_before_ack = late_ack;
	if (is_arm())
		apf_guest_arm64_ready(&guest);
	else
		apf_guest_x86_ready(&guest);
	end(c);
	reschedule(cpu);
}

static void lib_busy(unsigned int c, bool begins)
{
	begin(c);
	if (begins)
		apf_guest_arm64_busy_begin(&guest);
	else
		apf_guest_arm64_busy_end(&guest);
	end(c);
}

/* The CPU's memory is cleared; its tasks are the machine's to start anew. */
static void lib_reset(unsigned int c)
{
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (scenario->cpu_of[t] == c)
			memset(&live_waiter[t], 0, sizeof(live_waiter[t]));
	memset(&live_cpu[c], 0, sizeof(live_cpu[c]));
	live_cpu[c].id = c;
	live_cpu[c].phys = AREA(c);
}

static bool lib_halt_over(const struct state *s, unsigned int c)
{
	return !s->lib.waiter[s->cpu[c].halting - 1].link;
}

static bool lib_knows(uint32_t token)
{
	for (unsigned int c = 0; c < VCPUS; c++)
		for (unsigned int i = 0; i < live_cpu[c].nr_early; i++)
			if (live_cpu[c].early[i] == token)
				return true;
	return false;
}

static bool lib_idle(const struct state *s, unsigned int c)
{
	return !s->lib.cpu[c].nr_early;
}

const struct guest_half guest_lib = {
	.load = lib_load,
	.store = lib_store,
	.enable = lib_enable,
	.disable = lib_disable,
	.exception = lib_exception,
	.wait = lib_wait,
	.irq = lib_irq,
	.busy = lib_busy,
	.reset = lib_reset,
	.halt_over = lib_halt_over,
	.knows = lib_knows,
	.idle = lib_idle,
};
