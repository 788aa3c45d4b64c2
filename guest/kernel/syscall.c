/* SPDX-License-Identifier: MIT */
/* What tasks in user mode ask for. */
#include "kernel.h"

static uint64_t touch(const uint64_t *word, enum touch how)
{
	uint64_t value = 0;
	bool done;

	current()->touch_ticks = 0;
	current()->no_preempt += how == TOUCH_ATOMIC;
	done = arch_touch(word, how, &value);
	current()->no_preempt -= how == TOUCH_ATOMIC;
	if (!done)
		die("this processor cannot touch so");
	return value;
}

/* Not the first: it may have waited with the vCPU, and come when the page was there. */
void touch_tick(uintptr_t pc)
{
	if (pc == (uintptr_t)touch_site && current()->touch_ticks++)
		this_cpu()->served++;
}

uint64_t system_call(enum syscall number, uint64_t a, uint64_t b)
{
	switch (number) {
	case SYS_WAIT:
		sched_wait_word((const uint32_t *)a, (uint32_t)b, 0);
		return 0;
	case SYS_WAKE:
		sched_wake_word((const uint32_t *)a);
		return 0;
	case SYS_SLEEP:
		sched_sleep_until(clock_now() + clock_ticks(a));
		return 0;
	case SYS_TOUCH:
		return touch((const uint64_t *)a, (enum touch)b);
	}
	die("unknown system call");
}
