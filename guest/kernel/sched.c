/* SPDX-License-Identifier: MIT */
/*
 * Tasks and who runs: one queue of ready tasks per class for all CPUs, under one
 * lock that is held across a switch and released by whoever runs next. A
 * background task runs only where no normal one is ready.
 */
#include "kernel.h"

struct cpu cpus[MAX_CPUS];
uint32_t nr_cpus;

static struct {
	uint32_t locked;
	struct task *first[TASK_IDLE], *last[TASK_IDLE];	/* ready, by class */
	struct task *sleepers;					/* the earliest first */
	struct task *waiters;					/* in SYS_WAIT */
} sched;

struct task *current(void)
{
	return (struct task *)(stack_pointer() & ~(uintptr_t)(KSTACK_SIZE - 1));
}

struct cpu *this_cpu(void)
{
	return current()->cpu;
}

void sched_lock(void)
{
	while (__atomic_exchange_n(&sched.locked, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

void sched_unlock(void)
{
	__atomic_store_n(&sched.locked, 0, __ATOMIC_RELEASE);
}

/* --- the timer --- */

/* Set the timer for the next thing that can happen here, unless it fires before that anyway. */
static void arm_timer(struct cpu *cpu, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	if (cpu->current->class != TASK_IDLE)
		next = cpu->slice_end;
	if (sched.sleepers && sched.sleepers->wake_at < next)
		next = sched.sleepers->wake_at;
	if (apf_misbehaves() && now + clock_ticks(option.tick_us) < next)
		next = now + clock_ticks(option.tick_us);
	if (next == UINT64_MAX || (cpu->timer_at && cpu->timer_at <= next))
		return;
	cpu->timer_at = next;
	arch_timer(next > now ? next - now : 1);
}

/* --- lists; all of this is locked --- */

static void make_ready(struct task *task)
{
	enum task_class class = task->class;

	task->state = TASK_READY;
	task->next = NULL;
	if (sched.first[class])
		sched.last[class]->next = task;
	else
		sched.first[class] = task;
	sched.last[class] = task;
}

static struct task *take_ready(struct cpu *cpu)
{
	for (uint32_t class = TASK_NORMAL; class < TASK_IDLE; class++) {
		struct task *task = sched.first[class];

		if (!task)
			continue;
		sched.first[class] = task->next;
		return task;
	}
	return cpu->idle;
}

static void add_sleeper(struct task *task, uint64_t wake_at)
{
	struct task **at = &sched.sleepers;

	while (*at && (*at)->wake_at <= wake_at)
		at = &(*at)->next_sleeper;
	task->wake_at = wake_at;
	task->next_sleeper = *at;
	*at = task;
}

static void add_waiter(struct task *task, const uint32_t *word)
{
	task->wait_word = word;
	task->next_waiter = sched.waiters;
	sched.waiters = task;
}

static void remove_from_lists(struct task *task)
{
	struct task **at;

	if (task->wake_at) {
		for (at = &sched.sleepers; *at != task; at = &(*at)->next_sleeper)
			;
		*at = task->next_sleeper;
		task->wake_at = 0;
	}
	if (task->wait_word) {
		for (at = &sched.waiters; *at != task; at = &(*at)->next_waiter)
			;
		*at = task->next_waiter;
		task->wait_word = NULL;
	}
}

/* --- switching --- */

static void switch_to_next(void)
{
	struct cpu *cpu = this_cpu();
	struct task *prev = cpu->current, *next;
	uint64_t now = clock_now();

	if (prev->state == TASK_RUNNING && prev->class != TASK_IDLE)
		make_ready(prev);
	next = take_ready(cpu);
	next->state = TASK_RUNNING;
	next->cpu = cpu;
	cpu->current = next;
	cpu->resched = false;
	cpu->kicked = false;
	cpu->slice_end = now + clock_ticks(option.slice_us);
	arch_use_stack(cpu, (char *)next + KSTACK_SIZE);
	arm_timer(cpu, now);
	if (next != prev)
		context_switch(&prev->sp, next->sp);
}

void sched_block(void)
{
	current()->state = TASK_BLOCKED;
	switch_to_next();
}

static bool can_take(const struct cpu *cpu, enum task_class class)
{
	return cpu->online && !cpu->kicked && !cpu->resched && cpu->current->class > class;
}

/* A task of this class became ready: who should look? This CPU if it can, else one that idles. */
static void notify(enum task_class class)
{
	struct cpu *me = this_cpu(), *best = NULL;

	if (can_take(me, class)) {
		me->resched = true;
		return;
	}
	for (uint32_t i = 0; i < nr_cpus; i++) {
		if (&cpus[i] == me || !can_take(&cpus[i], class))
			continue;
		if (!best || cpus[i].current->class > best->current->class)
			best = &cpus[i];
	}
	if (!best)
		return;
	best->kicked = true;
	arch_send(best, IPI_RESCHED);
}

void sched_wake(struct task *task)
{
	if (task->state != TASK_BLOCKED)
		return;
	remove_from_lists(task);
	make_ready(task);
	notify(task->class);
}

void sched_timer(void)
{
	struct cpu *cpu = this_cpu();
	uint64_t now = clock_now();

	sched_lock();
	cpu->timer_at = 0;
	while (sched.sleepers && sched.sleepers->wake_at <= now)
		sched_wake(sched.sleepers);
	if (now >= cpu->slice_end) {
		cpu->resched = true;
		cpu->slice_end = now + clock_ticks(option.slice_us);
	}
	arm_timer(cpu, now);
	sched_unlock();
}

void sched_trap_end(bool may_preempt)
{
	if (!may_preempt || current()->no_preempt || !this_cpu()->resched)
		return;
	sched_lock();
	switch_to_next();
	sched_unlock();
}

void sched_sleep_until(uint64_t time)
{
	sched_lock();
	add_sleeper(current(), time);
	sched_block();
	sched_unlock();
}

void sched_wait_word(const uint32_t *word, uint32_t value, uint64_t until)
{
	sched_lock();
	if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) {
		add_waiter(current(), word);
		if (until)
			add_sleeper(current(), until);
		sched_block();
	}
	sched_unlock();
}

void sched_wake_word(const uint32_t *word)
{
	struct task *task, *next;

	sched_lock();
	for (task = sched.waiters; task; task = next) {
		next = task->next_waiter;
		if (task->wait_word == word)
			sched_wake(task);
	}
	sched_unlock();
}

/* --- birth --- */

void task_begin(void);	/* for entry.S */

void task_begin(void)
{
	struct task *task = current();

	sched_unlock();
	irq_on();
	task->entry(task->argument);
	die("a task has ended");
}

extern void task_start(void);

struct task *task_create(enum task_class class, void (*entry)(void *), void *argument)
{
	struct task *task = memory_take(KSTACK_SIZE, KSTACK_SIZE);

	task->sp = arch_first_frame((char *)task + KSTACK_SIZE, task_start);
	task->class = class;
	task->entry = entry;
	task->argument = argument;
	irq_off();
	sched_lock();
	make_ready(task);
	sched_unlock();
	return task;
}

void sched_start_cpu(struct cpu *cpu, struct task *idle)
{
	idle->cpu = cpu;
	idle->class = TASK_IDLE;
	idle->state = TASK_RUNNING;
	idle->no_preempt = 1;
	cpu->idle = idle;
	cpu->current = idle;
}

void idle_loop(void)
{
	for (;;) {
		sched_lock();
		switch_to_next();
		sched_unlock();
		irq_on_and_halt();
		irq_off();
	}
}
