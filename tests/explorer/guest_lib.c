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
static struct apf_guest guest = { .ops = &ops, .cpu = cpus, .cpus = VCPUS, .vector = VECTOR };

/* The words that the host has at hand, and the library's: the same memory. */
static void area_in(unsigned int c)
{
	live_cpu[c].area.reason = now->cpu[c].reason;
	live_cpu[c].area.token = now->cpu[c].token;
}

static void area_out(unsigned int c)
{
	now->cpu[c].reason = live_cpu[c].area.reason;
	now->cpu[c].token = live_cpu[c].area.token;
}

/* Call the library on this vCPU: first begin, then end. */
static void begin(unsigned int c)
{
	static const enum apf_guest_abi abis[] = {
		[APF_ABI_X86_INT] = APF_GUEST_X86_INT,
		[APF_ABI_X86_2010] = APF_GUEST_X86_2010,
		[APF_ABI_X86_RFC] = APF_GUEST_X86_RFC,
	};

	guest.abi = scenario->as_2010 ? APF_GUEST_X86_2010 : abis[scenario->abi];
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
	.wrmsr = op_wrmsr, .eoi = op_eoi,
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
		g->epoch = g->area.reason = g->area.token = 0;
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
	if (apf_guest_x86_enable(&guest))
		violate("enabling failed");
	end(c);
}

static void lib_disable(unsigned int c)
{
	begin(c);
	now->cpu[c].enabled = false;
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

static void lib_exception(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];
	struct apf_guest_x86_trap trap = {
		.cr2 = cpu->exception,
		.user = cpu->task && cpu->mode == USER && !cpu->noticed,
		.irqs_on = !(cpu->task && cpu->mode == IRQS_OFF),
	};
	bool np = cpu->reason == APF_REASON_NP;
	struct apf_guest_notice notice;

	if (np && (!cpu->task || now->task[cpu->task - 1].token != cpu->exception))
		violate("C1: the exception carries another token than was decided");
	if (!np)
		check_woken(c, cpu->exception);
	cpu->exception = 0;
	begin(c);
	switch (apf_guest_x86_notice(&guest, &trap, &notice)) {
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

static void lib_irq(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];

	check_woken(c, cpu->token);
	begin(c);
	apf_guest_x86_ready(&guest);
	end(c);
	reschedule(cpu);
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
	.reset = lib_reset,
	.halt_over = lib_halt_over,
	.knows = lib_knows,
	.idle = lib_idle,
};
