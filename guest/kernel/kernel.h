/* SPDX-License-Identifier: MIT */
/*
 * The test kernel: a small SMP kernel with tasks in user mode, made to live on a host
 * with asynchronous page faults and to tell what it saw. One file per subject; the
 * order below is the order of the layers. What a processor architecture does in its own
 * way is in files that begin with its name.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apf/guest.h>

#include "layout.h"
#include "user.h"

#if defined(__aarch64__)
#include "arm64_arch.h"
#else
#include "x86_arch.h"
#endif

#define MAX_CPUS	64u
#define MAX_TASKS	4096u

/* --- main.c --- */

/* On the boot processor, whose stack is the idle task's, once free memory was offered. */
void kernel_start(const char *cmdline) __attribute__((noreturn));

/* --- serial.c: the console, polled --- */

void put(const char *text);
void put_number(const char *name, uint64_t value);
void put_hex(const char *name, uint64_t value);
/* Polls for a line; writes a heart beat that the monitor can see. */
void read_line(char *line, size_t size);
/* Says what is wrong on the console and ends the machine with a failure. */
void die(const char *what) __attribute__((noreturn));

/* Each architecture's. */
void uart_put(char c);
int uart_get(void);		/* -1: nothing came */
void uart_beat(uint8_t beat);	/* something that the monitor sees and nobody else */

/* --- clock.c, and how the machine ends --- */

enum exit_code { EXIT_OK = 0, EXIT_WRONG = 1, EXIT_PANIC = 2 };

void debug_exit(uint32_t code);		/* returns if the machine has no such device */
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));
void clock_set_khz(uint64_t khz);	/* of clock_now, which each architecture has */
uint64_t clock_ticks(uint64_t us);
uint64_t clock_us(uint64_t ticks);
uint64_t clock_khz(void);
void clock_delay(uint64_t us);

/* --- options.c: the command line --- */

enum misbehaviour { BAD_NONE, BAD_NOACK, BAD_STORM, BAD_GARBAGE };

struct options {
	uint64_t tasks, pages, worker, seed;
	uint64_t chunk;		/* pages: what user mode gets begins and ends at a multiple of it */
	uint64_t cpus;		/* 0: ask the machine's tables */
	uint64_t vector;	/* of the ready interrupt; arm64: the host says */
	uint64_t slice_us, tick_us;	/* of the round robin; of a misbehaving guest */
	uint64_t stuck_ms;	/* a misbehaving guest without progress is helped after that */
	uint64_t sleep_us;	/* mode sleep */
	uint64_t always;	/* send-always */
	uint64_t xapic;		/* x86: even if the processor has x2APIC */
	uint64_t busy;		/* arm64: offers the busy word */
	uint64_t region;	/* arm64: sets the no-fault region */
	uint64_t automatic;	/* run `mode` at once and exit */
	uint64_t abi;		/* enum apf_guest_abi or ABI_AUTO */
	uint64_t mode;		/* enum mode */
	uint64_t bad;		/* enum misbehaviour */
};

#define ABI_AUTO 0xffu

extern struct options option;

void options_read(const char *cmdline);
const char *abi_name(uint64_t abi);
const char *mode_name(uint64_t mode);
/* The mode of that name, or MODE_COUNT. */
enum mode mode_find(const char *name);

/* --- lib.c --- */

bool str_equal(const char *a, const char *b);
/* Does text start with prefix? Then what follows it, else NULL. */
const char *str_after(const char *text, const char *prefix);
/* Reads a number (base 10 or 16) and moves *at behind it. */
uint64_t str_number(const char **at, uint32_t base);
void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

/* --- memory.c --- */

/* A free piece; the image may be in it. */
void memory_offer(uint64_t start, uint64_t end);
/* Zeroed, never freed, at its physical address; dies when there is no more. */
void *memory_take(uint64_t size, uint64_t align);
/* Maps new pages for user mode and returns where. Not zeroed. */
void *memory_map_user(uint64_t pages);
/* Below the one is all that the kernel uses, from the other on what is user mode's alone. */
uint64_t memory_kernel_end(void);
uint64_t memory_user_start(void);

/* --- sched.c --- */

enum task_state { TASK_READY, TASK_RUNNING, TASK_BLOCKED };
enum task_class { TASK_NORMAL, TASK_BACKGROUND, TASK_IDLE };

struct cpu;

/* At the bottom of its kernel stack. */
struct task {
	uint64_t sp;			/* while it does not run */
	struct cpu *cpu;		/* while it runs */
	struct task *next;		/* in the ready queue */
	struct task *next_sleeper;	/* in the list of sleepers, by time */
	struct task *next_waiter;	/* in the list of those in SYS_WAIT */
	const uint32_t *wait_word;	/* there; NULL: not in it */
	uint64_t wake_at;		/* by clock_now; 0: not asleep */
	enum task_state state;
	enum task_class class;
	uint32_t no_preempt;		/* cannot be scheduled away while not 0 (L9) */
	uint32_t touch_ticks;		/* timer interrupts at touch_site in this touch */
	void (*entry)(void *argument);
	void *argument;
};

struct cpu {
	uint32_t id;
	bool online;
	bool resched;			/* look for a better task when the trap returns */
	bool kicked;			/* an interrupt for that is on its way */
	struct task *current, *idle;
	uint64_t slice_end;		/* by clock_now */
	uint64_t timer_at;		/* when the timer will fire; 0: not armed */
	uint64_t random;
	uint64_t counts[APF_GUEST_EV_COUNT];
	uint64_t served;		/* timer interrupts while a touch waited (C4) */
	struct arch_cpu arch;
};

extern struct cpu cpus[MAX_CPUS];
extern uint32_t nr_cpus;

struct task *current(void);
struct cpu *this_cpu(void);

/* Makes the running boot stack this CPU's idle task. */
void sched_start_cpu(struct cpu *cpu, struct task *idle);
/* A new task that runs entry(argument) in kernel mode. */
struct task *task_create(enum task_class class, void (*entry)(void *), void *argument);
/* Takes turns with the others for ever; interrupts are off when called. */
void idle_loop(void) __attribute__((noreturn));

/* Interrupts off. Blocking: sched_lock, test, sched_block, test again ..., sched_unlock. */
void sched_lock(void);
void sched_unlock(void);
void sched_block(void);
void sched_wake(struct task *task);	/* locked; nothing if it is not blocked */

/* Interrupts off. */
void sched_timer(void);			/* the timer has fired */
void sched_trap_end(bool may_preempt);
void sched_sleep_until(uint64_t time);
/* Sleep while *word is value, until sched_wake_word or the time comes (0: never). */
void sched_wait_word(const uint32_t *word, uint32_t value, uint64_t until);
void sched_wake_word(const uint32_t *word);

/* --- smp.c --- */

enum ipi { IPI_RESCHED, IPI_CONTROL };

void smp_start(void);
/* Where another processor begins, on its idle task's stack. */
void smp_main(void) __attribute__((noreturn));
bool smp_is_online(const struct cpu *cpu);
/* Ask all online CPUs, this one too, to take a control interrupt. */
void smp_control(void);
/* An interrupt of that kind came; its end was said already. */
void smp_interrupt(enum ipi ipi);

/* --- what each architecture does in its own way --- */

void arch_init(void);			/* on the boot processor */
void arch_init_cpu(struct cpu *cpu);	/* on each of the others */
/* Fills cpus[].arch, the running one first, and returns how many there are. */
uint32_t arch_find_cpus(void);
void arch_start_cpu(struct cpu *cpu, void *stack_end);	/* it goes to smp_main */
void arch_send(const struct cpu *cpu, enum ipi ipi);
void arch_timer(uint64_t ticks);	/* one interrupt, so many ticks from now */
void arch_flush_tables(void);		/* entries were added */
/* Of a task that never ran: makes the stack that context_switch wants, and returns its pointer. */
uint64_t arch_first_frame(void *stack_end, void (*begin)(void));
/* This task's stack will be the one that traps from user mode use. */
void arch_use_stack(struct cpu *cpu, void *stack_end);
void context_switch(uint64_t *save_sp, uint64_t sp);
void enter_user(uintptr_t entry, uintptr_t sp, uintptr_t argument) __attribute__((noreturn));
/* Reads the word in kernel mode, interrupts off before and after. False: it cannot do it so. */
bool arch_touch(const uint64_t *word, enum touch how, uint64_t *value);
extern char touch_site[];		/* the instruction that does it with interrupts on */
extern uint64_t root_table[];		/* made by boot.S, with all memory identity-mapped */

/* --- syscall.c --- */

uint64_t system_call(enum syscall number, uint64_t a, uint64_t b);
/* The timer has interrupted the kernel at pc. */
void touch_tick(uintptr_t pc);

/* --- apf.c: libapf-guest in this kernel --- */

/* One who waits for a page, on its own kernel stack. */
struct apf_wait {
	struct apf_guest_waiter waiter;
	struct task *task;
	bool woken;
};

/* The library's entry points for this architecture. */
struct apf_calls {
	enum apf_guest_abi (*detect)(struct apf_guest *g);
	int (*enable)(struct apf_guest *g);
	void (*disable)(struct apf_guest *g);
	void (*ready)(struct apf_guest *g);
	void (*ignore_ready)(void);	/* its interrupt */
	enum apf_guest_abi ready_by_exception;	/* the generation that has it */
	uint32_t words;		/* at the start of the area that both sides write to */
	void (*garbage_ack)(uint64_t random);
};

extern const struct apf_calls apf_calls;
extern struct apf_guest apf_guest;

/* What this architecture adds to the table of functions. */
void arch_apf_ops(struct apf_guest_ops *ops);

/* Once, on the boot CPU, when the number of CPUs is known: chooses the generation, enables it. */
void apf_init(void);
enum apf_guest_abi apf_abi(void);
/* The generation that was asked for or announced and that the host denies us, or OFF. */
enum apf_guest_abi apf_refused(void);
/* Another CPU's turn, there, with interrupts off. */
void apf_start_cpu(void);
void apf_ready_interrupt(void);
void apf_control_interrupt(void);
void apf_tick(void);			/* the misbehaviour that comes with the timer */
/* Misbehave from now on as option.bad says, or stop it. */
void apf_misbehave(bool on);
bool apf_misbehaves(void);
/* It ignores the ready, if that is what an exception is. */
bool apf_ignores_exception(void);
/* What the control interrupt is for, on every CPU. */
void apf_set_enabled(bool enabled);
/* Where this CPU's area is, and what it reads. */
const struct apf_guest_cpu *apf_this_cpu(void);

/* --- events.c: the latest notifications --- */

void events_add(enum apf_guest_event ev, uint32_t cpu, uint32_t token);
/* Prints those that it has not printed yet, as many as fit on a line. */
void events_put(void);

/* --- job.c: commands from the console --- */

void job_main(void *unused);

struct command {
	const char *name;
	void (*run)(const char *rest);
};

/* Those that only this architecture has. */
extern const struct command arch_commands[];
extern const uint32_t nr_arch_commands;

#endif
