/* SPDX-License-Identifier: MIT */
/* Which steps the machine can take, and what each does. */
#include <stddef.h>
#include <string.h>

#include <abi/apf_abi_x86.h>

#include "model.h"

/* A restore happens in a pause, which has been counted. */
static bool may(const struct state *s, enum event e)
{
	return s->budget[e] && (s->total || e == EV_RESTORE);
}

void spend(enum event e)
{
	now->budget[e]--;
	now->total -= e != EV_RESTORE;
}

/* Does this vCPU execute instructions now? */
static bool runs(const struct state *s, const struct cpu *cpu)
{
	return !s->frozen && !cpu->ask && cpu->host == RUNNING;
}

/* Is it inside a handler, or about to enter one? */
static bool handles(const struct cpu *cpu)
{
	return cpu->handler || cpu->exception || cpu->noticed || cpu->halting;
}

/* Is it between two instructions of no task in particular, outside any handler? */
static bool idle(const struct state *s, const struct cpu *cpu)
{
	return runs(s, cpu) && !cpu->task && !handles(cpu);
}

/* Between two runs, where the host may inject. */
static bool enter_possible(const struct state *s, const struct cpu *cpu)
{
	return cpu->due && !s->frozen && !cpu->ask && cpu->host != WAITING;
}

static bool irq_possible(const struct state *s, const struct cpu *cpu)
{
	if (s->frozen || cpu->ask || cpu->host == WAITING)
		return false;
	if (!cpu->irr || !cpu->apic_on || cpu->handler)
		return false;
	if (cpu->task && cpu->mode == IRQS_OFF)
		return false;
	/* KVM enters an exception before it looks at interrupts. */
	return !cpu->exception || (scenario->irq_first && cpu->token != APF_TOKEN_BROADCAST);
}

static bool touch_possible(const struct state *s, const struct step *st)
{
	const struct cpu *cpu = &s->cpu[st->cpu];

	if (!runs(s, cpu) || handles(cpu))
		return false;
	if (scenario->cpu_of[st->arg] != st->cpu || s->task[st->arg].state != RUNNABLE)
		return false;
	if (st->kind == STEP_TOUCH_UNDO && (!may(s, EV_UNDO) || st->mode != USER))
		return false;
	if (cpu->task)
		return cpu->task == st->arg + 1 && cpu->mode == st->mode;
	return scenario->modes & st->mode;
}

static bool nobody_asks(const struct state *s)
{
	return !s->cpu[0].ask && !s->cpu[1].ask;
}

bool step_possible(const struct state *s, const struct step *st)
{
	const struct cpu *cpu = &s->cpu[st->cpu];

	switch (st->kind) {
	case STEP_TOUCH:
	case STEP_TOUCH_UNDO:
		return touch_possible(s, st);
	case STEP_ASK:
		return cpu->ask;
	case STEP_FETCHED:
		return s->page[st->arg] == FETCHING;
	case STEP_FAIL:
		return s->page[st->arg] == FETCHING && may(s, EV_FAIL);
	case STEP_TELL:
		return cpu->untold & 1u << st->arg;
	case STEP_POLL:
		return cpu->later && !s->frozen;
	case STEP_ENTER:
		return enter_possible(s, cpu);
	case STEP_ENTER_UNDO:
		return enter_possible(s, cpu) && may(s, EV_UNDO);
	case STEP_EXCEPTION:
		return runs(s, cpu) && cpu->exception && !cpu->handler;
	case STEP_WAIT:
		return runs(s, cpu) && cpu->noticed && !cpu->exception;
	case STEP_HALT_OVER:
		return runs(s, cpu) && cpu->halting && !cpu->exception &&
		       scenario->guest->halt_over(s, st->cpu);
	case STEP_IRQ:
		return irq_possible(s, cpu) && (!st->arg || (is_arm() && cpu->untold));
	case STEP_HANDLER:
		return runs(s, cpu) && cpu->handler;
	case STEP_APIC_ON:
		return idle(s, cpu) && !cpu->apic_on;
	case STEP_ENABLE:
		return idle(s, cpu) && !cpu->enabled;
	case STEP_DISABLE:
		return idle(s, cpu) && cpu->enabled && !cpu->unreachable && may(s, EV_DISABLE);
	case STEP_AGAIN:
		return !is_arm() && idle(s, cpu) && cpu->enabled && may(s, EV_AGAIN);
	case STEP_RESET:
		return !s->frozen && !cpu->ask && may(s, EV_RESET);
	case STEP_FREEZE:
		return !s->frozen && nobody_asks(s) && may(s, EV_FREEZE);
	case STEP_THAW:
		return s->frozen;
	case STEP_RESTORE:
		return s->frozen && may(s, EV_RESTORE) && !(is_arm() && st->arg == 1);
	case STEP_UNREACHABLE:
		return !cpu->unreachable && cpu->enabled && may(s, EV_UNREACHABLE);
	case STEP_REACHABLE:
		return cpu->unreachable && !s->frozen;
	case STEP_BUSY:
		return is_arm() && runs(s, cpu) && !handles(cpu) && cpu->enabled && !cpu->busy &&
		       may(s, EV_BUSY);
	case STEP_UNBUSY:
		return runs(s, cpu) && !cpu->exception && cpu->busy;
	}
	return false;
}

static void touch(const struct step *st)
{
	struct cpu *cpu = &now->cpu[st->cpu];
	uint8_t page = now->page[scenario->page_of[st->arg]];

	if (page == PRESENT || page == FAILED) {
		now->task[st->arg].state = DONE;
		cpu->task = cpu->mode = 0;
		return;
	}
	host_fault(st->cpu, st->arg, st->mode, st->kind == STEP_TOUCH_UNDO);
}

static void page_came(unsigned int page, enum page_state how)
{
	now->page[page] = (uint8_t)how;
	for (unsigned int c = 0; c < VCPUS; c++)
		if (scenario->tell_all || host_cares(c, page))
			now->cpu[c].untold |= (uint8_t)(1u << page);
}

/* x86's interrupt is an edge. Arm's line is high until the host is told. */
static void take_irq(unsigned int c, bool late_ack)
{
	if (!is_arm())
		now->cpu[c].irr = false;
	now->cpu[c].host = RUNNING;
	scenario->guest->irq(c, late_ack);
}

static void disable(unsigned int c)
{
	scenario->guest->disable(c);
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (scenario->cpu_of[t] == c)
			now->task[t].owed = false;
}

/* INIT: what ran on this CPU starts anew, on memory that a kernel has cleared. */
static void reset(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];

	apf_vcpu_reset(engine(c));
	scenario->guest->reset(c);
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (scenario->cpu_of[t] == c && now->task[t].state != DONE)
			now->task[t] = (struct task) { .state = RUNNABLE };
	cpu->reason = cpu->token = cpu->busy = cpu->exception = 0;
	cpu->task = cpu->mode = cpu->handler = cpu->noticed = cpu->halting = 0;
	cpu->apic_on = cpu->irr = cpu->enabled = cpu->later = cpu->due = false;
	cpu->host = RUNNING;
}

static void guest_step(const struct step *st)
{
	const struct guest_half *g = scenario->guest;

	switch (st->kind) {
	case STEP_TOUCH:
	case STEP_TOUCH_UNDO:
		touch(st);
		break;
	case STEP_EXCEPTION:
		g->exception(st->cpu);
		break;
	case STEP_WAIT:
		g->wait(st->cpu);
		break;
	case STEP_HALT_OVER:
		now->task[now->cpu[st->cpu].halting - 1].token = 0;
		now->cpu[st->cpu].halting = 0;
		break;
	case STEP_IRQ:
		take_irq(st->cpu, st->arg);
		break;
	case STEP_HANDLER:
		g->handler(st->cpu);
		break;
	case STEP_APIC_ON:
		now->cpu[st->cpu].apic_on = true;
		break;
	case STEP_AGAIN:
		spend(EV_AGAIN);
		write_controls(st->cpu);
		break;
	case STEP_ENABLE:
		g->enable(st->cpu);
		break;
	case STEP_DISABLE:
		spend(EV_DISABLE);
		disable(st->cpu);
		break;
	case STEP_RESET:
		spend(EV_RESET);
		reset(st->cpu);
		break;
	case STEP_BUSY:
		spend(EV_BUSY);
		g->busy(st->cpu, true);
		break;
	case STEP_UNBUSY:
		g->busy(st->cpu, false);
		break;
	}
}

static void host_step(const struct step *st)
{
	struct cpu *cpu = &now->cpu[st->cpu];

	switch (st->kind) {
	case STEP_ASK:
		host_ask(st->cpu);
		break;
	case STEP_FETCHED:
		page_came(st->arg, PRESENT);
		break;
	case STEP_FAIL:
		spend(EV_FAIL);
		page_came(st->arg, FAILED);
		break;
	case STEP_TELL:
		host_tell(st->cpu, st->arg);
		break;
	case STEP_POLL:
		cpu->later = false;
		act_on(st->cpu, apf_vcpu_poll(engine(st->cpu)));
		break;
	case STEP_ENTER:
	case STEP_ENTER_UNDO:
		host_enter(st->cpu, st->kind == STEP_ENTER_UNDO);
		break;
	case STEP_FREEZE:
		spend(EV_FREEZE);
		host_freeze(true);
		break;
	case STEP_THAW:
		host_freeze(false);
		break;
	case STEP_RESTORE:
		spend(EV_RESTORE);
		host_restore(st->arg);
		break;
	case STEP_UNREACHABLE:
		spend(EV_UNREACHABLE);
		cpu->unreachable = true;
		break;
	case STEP_REACHABLE:
		cpu->unreachable = false;
		break;
	}
}

size_t state_bytes(void)
{
	return scenario->guest->load ? sizeof(struct state) : offsetof(struct state, lib);
}

bool is_arm(void)
{
	return scenario->abi == APF_ABI_ARM64;
}

bool ready_is_pf(void)
{
	return scenario->abi == APF_ABI_X86_2010 || scenario->as_pf;
}

bool has_token_word(void)
{
	return scenario->abi == APF_ABI_X86_INT || (is_arm() && !scenario->as_pf);
}

/* The word without the exception makes Linux panic; where ready is none, 2 is no #PF's. */
static void check_reason(struct cpu *cpu)
{
	bool of_pf = cpu->reason && (ready_is_pf() || cpu->reason == APF_REASON_NP);

	if (of_pf != !!cpu->exception)
		violate("C13: a reason word without its exception, or the reverse");
	/* What nobody looks at makes no state of its own; the RFC's guest clears the reason only. */
	if (!has_token_word() && !cpu->reason)
		cpu->token = 0;
}

void take_step(struct state *s, const struct step *st)
{
	violation = NULL;
	now = s;
	engines_in(s);
	if (scenario->guest->load)
		scenario->guest->load(s);
	guest_step(st);
	host_step(st);
	for (unsigned int c = 0; c < VCPUS; c++)
		check_reason(&s->cpu[c]);
	if (scenario->guest->store)
		scenario->guest->store(s);
	engines_out(s);
}

/* Nothing obliges the guest or the world to do the others. */
bool step_is_fair(const struct step *st)
{
	static const bool optional[STEP_KINDS] = {
		[STEP_TOUCH_UNDO] = true, [STEP_FAIL] = true, [STEP_ENABLE] = true,
		[STEP_DISABLE] = true, [STEP_AGAIN] = true, [STEP_RESET] = true,
		[STEP_FREEZE] = true, [STEP_RESTORE] = true, [STEP_UNREACHABLE] = true,
		[STEP_ENTER_UNDO] = true, [STEP_BUSY] = true,
	};

	return !optional[st->kind];
}

/* Every task done, every NP answered, nothing left in a queue. */
bool all_is_well(const struct state *s)
{
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (s->task[t].state != DONE || s->task[t].owed)
			return false;
	for (unsigned int c = 0; c < VCPUS; c++) {
		const struct apf_vcpu *v = (const struct apf_vcpu *)s->cpu[c].engine;

		if (v->set.list[APF_NODE_WAITING].count || v->set.list[APF_NODE_READY].count)
			return false;
		if (v->wake_all || !scenario->guest->idle(s, c))
			return false;
	}
	return true;
}

void initial_state(struct state *s)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->budget, scenario->budget, sizeof(s->budget));
	s->total = scenario->total;
	now = s;
	violation = NULL;
	for (unsigned int c = 0; c < VCPUS; c++) {
		struct cpu *cpu = &s->cpu[c];

		make_engine(c, scenario->set_size);
		scenario->guest->reset(c);
		if (scenario->from_boot)
			continue;
		cpu->apic_on = true;
		scenario->guest->enable(c);
		if (ready_is_pf())
			host_enter(c, false);
		else if (is_arm())
			scenario->guest->irq(c, false);
		/* The wake-all of enabling, consumed. */
		cpu->reason = cpu->token = cpu->exception = 0;
		cpu->irr = false;
	}
	if (scenario->guest->store)
		scenario->guest->store(s);
	engines_out(s);
}
