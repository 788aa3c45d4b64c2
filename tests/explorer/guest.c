/* SPDX-License-Identifier: MIT */
/*
 * A guest of the explorer's machine, after the guest half of Linux (N9, so INT only):
 * tasks that sleep by token, entries for a ready that came before its NP, and the
 * interrupt handler in the steps between which the host can act.
 */
#include <string.h>

#include <abi/apf_abi_x86.h>

#include "model.h"

static bool take_dummy(uint32_t token)
{
	for (unsigned int i = 0; i < 2; i++)
		if (now->dummy[i] == token) {
			now->dummy[i] = 0;
			return true;
		}
	return false;
}

/* #PF with a reason: the task sleeps until its token comes. */
static void linux_exception(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];
	struct task *task = &now->task[cpu->task - 1];

	if (cpu->reason != APF_REASON_NP)
		violate("C13: the exception came without its reason word");
	if (task->token != cpu->exception)
		violate("C1: the exception carries another token than was decided");
	cpu->reason = 0;
	if (take_dummy(cpu->exception))
		task->token = 0;
	else
		task->state = SLEEPING;
	cpu->exception = 0;
	cpu->task = 0;
}

static void wake_task(struct task *task)
{
	task->state = RUNNABLE;
	task->token = 0;
}

static void wake_all(unsigned int c)
{
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (scenario->cpu_of[t] == c && now->task[t].state == SLEEPING)
			wake_task(&now->task[t]);
}

static void wake_token(unsigned int c, uint32_t token)
{
	for (unsigned int t = 0; t < scenario->tasks; t++) {
		struct task *task = &now->task[t];
		uint8_t page = now->page[scenario->page_of[t]];

		if (task->state != SLEEPING || task->token != token)
			continue;
		if (page != PRESENT && page != FAILED)
			violate("C1: a waiter was woken before its page had come");
		wake_task(task);
		return;
	}
	if (now->cpu[c].exception != token)
		violate("C2: a ready whose NP will never come");
	now->dummy[now->dummy[0] ? 1 : 0] = token;
}

/*
 * Linux looks at its own note first: an interrupt that comes after the CPU has
 * disabled APF is only acknowledged at the APIC.
 */
static void read_and_wake(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];

	if (!cpu->enabled) {
		cpu->handler = NOT_IN;
		return;
	}
	if (cpu->token == APF_TOKEN_BROADCAST)
		wake_all(c);
	else if (cpu->token)
		wake_token(c, cpu->token);
	cpu->handler = CLEAR_STEP;
}

static void linux_enable(unsigned int c)
{
	write_controls(c);
	now->cpu[c].enabled = true;
}

static void linux_disable(unsigned int c)
{
	now->cpu[c].enabled = false;
	write_msr(c, APF_MSR_EN, 0);
	wake_all(c);
}

static void linux_irq(unsigned int c, bool late_ack)
{
	now->cpu[c].handler = WAKE_STEP;
}

static void linux_handler(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];

	switch (cpu->handler) {
	case WAKE_STEP:
		read_and_wake(c);
		break;
	case CLEAR_STEP:
		cpu->token = 0;
		cpu->handler = ACK_STEP;
		break;
	case ACK_STEP:
		write_msr(c, APF_MSR_ACK, APF_ACK_LOOK);
		cpu->handler = NOT_IN;
		break;
	}
	/* On the way back to user code the scheduler may pick another task. */
	if (cpu->handler == NOT_IN && cpu->mode == USER && !cpu->exception)
		cpu->task = 0;
}

/* INIT: what ran on this CPU starts anew, on memory that a kernel has cleared. */
static void linux_reset(unsigned int c)
{
	take_dummy(now->cpu[c].exception);
}

static bool linux_knows(uint32_t token)
{
	return now->dummy[0] == token || now->dummy[1] == token;
}

static bool linux_idle(const struct state *s, unsigned int c)
{
	return !s->dummy[c];
}

const struct guest_half guest_linux = {
	.enable = linux_enable,
	.disable = linux_disable,
	.exception = linux_exception,
	.irq = linux_irq,
	.handler = linux_handler,
	.reset = linux_reset,
	.knows = linux_knows,
	.idle = linux_idle,
};
