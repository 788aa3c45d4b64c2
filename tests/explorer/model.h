/* SPDX-License-Identifier: MIT */
/*
 * A small machine for the explorer: two vCPUs with the real engine, their APICs,
 * a guest (after Linux's guest half, or with libapf-guest itself), a pager, and
 * things that may go wrong. One struct holds all of it, so that a state can be
 * copied, compared and hashed.
 */
#ifndef TESTS_EXPLORER_MODEL_H
#define TESTS_EXPLORER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apf/guest.h>
#include <engine/vcpu.h>
#include <tests/support/guest_memory.h>

#define VCPUS	2
#define TASKS	4
#define PAGES	3
#define MAX_SET	4
#define BLOCK	352	/* of an engine with MAX_SET entries, without its statistics */

/* Modes a task touches its page in; a bit each. */
#define USER	1u
#define KERNEL	2u	/* privileged, interrupts on */
#define IRQS_OFF 4u	/* privileged, interrupts off */

/* What may happen, but need not: each at most so often on a path. */
enum event {
	EV_DISABLE,	/* CPU offline: EN = 0, wake all of that CPU */
	EV_AGAIN,	/* EN written once more */
	EV_RESET,	/* INIT of a vCPU, whose tasks then start anew */
	EV_FREEZE,	/* VM paused */
	EV_RESTORE,	/* saved and loaded into fresh vCPUs while paused */
	EV_UNDO,	/* an injection fails */
	EV_FAIL,	/* a page fails for good */
	EV_UNREACHABLE,	/* an area cannot be reached for a while */
	EV_BUSY,	/* arm64: the guest cannot take an abort for a while (A11) */
	EV_KINDS
};

struct guest_half;

struct scenario {
	const char *name;
	const struct guest_half *guest;
	enum apf_abi_id abi;		/* that the host offers */
	bool as_pf;			/* the guest chooses ready as an exception (I6, A16) */
	bool always;			/* EN's send-always */
	uint8_t tasks;
	uint8_t cpu_of[TASKS];
	uint8_t page_of[TASKS];
	uint8_t modes;			/* bits that a touch may choose from */
	uint8_t set_size;		/* max_outstanding, 1..MAX_SET */
	uint8_t tokens_per_page;
	bool from_boot;			/* APF and APIC not yet on */
	bool slow;			/* only when asked for */
	bool tell_all;			/* also tell vCPUs of pages they never asked for */
	bool irq_first;			/* a ready's interrupt may come before the NP's exception */
	uint8_t budget[EV_KINDS];
	uint8_t total;			/* of all events together, EV_RESTORE apart */
};

enum page_state { ABSENT, FETCHING, PRESENT, FAILED };
enum task_state { RUNNABLE, SLEEPING, DONE };
enum host_state { RUNNING, HALTED, WAITING };
enum handler_step { NOT_IN, WAKE_STEP, CLEAR_STEP, ACK_STEP };

struct task {
	uint32_t token;		/* it sleeps on, or that its pending exception carries */
	uint8_t state;
	bool owed;		/* NP delivered, and neither ready nor wake-all for it yet */
};

struct cpu {
	_Alignas(8) uint8_t engine[BLOCK];
	GUEST_AREA;
	uint32_t exception;	/* #PF or abort injected and not yet taken: its token */
	uint8_t host;		/* enum host_state */
	uint8_t task;		/* whose instruction is to run again, plus one */
	uint8_t mode;		/* of that */
	uint8_t handler;	/* enum handler_step */
	uint8_t ask;		/* page the host has yet to ask for after a fault, plus one */
	uint8_t untold;		/* pages that have come and the engine has not been told of */
	bool apic_on, irr;	/* arm64: irr is the line */
	bool enabled;		/* the guest's own note that APF is on */
	bool later;		/* the caller remembers APF_OUT_LATER */
	bool due;		/* the same of APF_OUT_KICK */
	bool unreachable;
	/* libapf-guest: tasks, plus one. */
	uint8_t noticed;	/* its NP was read, and it does not wait yet */
	uint8_t halting;	/* it waits without being able to sleep (L9) */
};

/* What libapf-guest keeps, and what its caller keeps for it. */
struct lib_state {
	struct apf_guest_cpu cpu[VCPUS];
	struct apf_guest_waiter waiter[TASKS];
	struct apf_guest_notice notice[VCPUS];
};

struct state {
	_Alignas(16) struct cpu cpu[VCPUS];
	struct task task[TASKS];
	uint32_t dummy[2];	/* ready-before-NP entries */
	uint8_t page[PAGES];
	bool frozen;
	uint8_t budget[EV_KINDS];
	uint8_t total;
	struct lib_state lib;	/* last: other guests do without */
};

/* A step: what, where, with what. */
enum step_kind {
	STEP_TOUCH,		/* arg: task, mode */
	STEP_TOUCH_UNDO,
	STEP_ASK,
	STEP_FETCHED,		/* arg: page */
	STEP_FAIL,
	STEP_TELL,		/* arg: page */
	STEP_POLL,
	STEP_ENTER,		/* a ready that is due may be injected */
	STEP_ENTER_UNDO,	/* the same, and that fails */
	STEP_EXCEPTION,
	STEP_WAIT,
	STEP_HALT_OVER,
	STEP_IRQ,		/* arg 1: pages are told of before its ACK */
	STEP_HANDLER,
	STEP_APIC_ON,
	STEP_ENABLE,
	STEP_DISABLE,
	STEP_AGAIN,
	STEP_RESET,
	STEP_FREEZE,
	STEP_THAW,
	STEP_RESTORE,		/* arg: 0 with the set, 1 without it, 2 into a set of one */
	STEP_UNREACHABLE,
	STEP_REACHABLE,
	STEP_BUSY,
	STEP_UNBUSY,
	STEP_KINDS
};

struct step {
	uint8_t kind, cpu, arg, mode;
};

extern const struct scenario scenarios[];
extern const size_t nr_scenarios;

extern const struct scenario *scenario;		/* the one at hand */
extern struct state *now;		/* the state that steps work on */
extern const char *violation;		/* what the last step broke, or NULL */

/* First violation of a step wins. */
void violate(const char *what);
void spend(enum event e);

void initial_state(struct state *s);
bool step_possible(const struct state *s, const struct step *st);
void take_step(struct state *s, const struct step *st);
/* Must this step happen some day, or only may it? */
bool step_is_fair(const struct step *st);
bool all_is_well(const struct state *s);

/* Bytes of a state that matter in this scenario. */
size_t state_bytes(void);

bool is_arm(void);
/* Is a ready an exception for this guest? */
bool ready_is_pf(void);
/* Does the token word serve readies, and nothing else? */
bool has_token_word(void);

/* host.c: what the steps do to the engines. */
#define AREA(c)		(0x1000ull * ((c) + 1))
#define VECTOR		0xf3
#define PPI		22
struct apf_vcpu *engine(unsigned int c);
void engines_in(const struct state *s);
void engines_out(struct state *s);
void make_engine(unsigned int c, uint32_t set_size);
void act_on(unsigned int c, unsigned int out);
bool write_msr(unsigned int c, uint32_t reg, uint64_t value);
void call_host(unsigned int c, const uint64_t x[6], uint64_t result[4]);
/* What an enabled guest has in its registers, written once (more). */
void write_controls(unsigned int c);
void host_fault(unsigned int c, unsigned int task, uint8_t mode, bool undo);
void host_ask(unsigned int c);
void host_enter(unsigned int c, bool fails);
bool host_cares(unsigned int c, unsigned int page);
void host_tell(unsigned int c, unsigned int page);
/* This vCPU needs the page, and is told at once if it is over. */
void host_want(unsigned int c, uint64_t page);

/* pause.c */
void host_freeze(bool frozen);
void host_restore(unsigned int how);

/* What a guest does; all on this vCPU. */
struct guest_half {
	void (*load)(const struct state *s);	/* its state in and out, around a step */
	void (*store)(struct state *s);
	void (*enable)(unsigned int c);
	void (*disable)(unsigned int c);
	void (*exception)(unsigned int c);
	void (*wait)(unsigned int c);
	void (*irq)(unsigned int c, bool late_ack);
	void (*handler)(unsigned int c);	/* what is left of irq */
	void (*busy)(unsigned int c, bool begins);	/* arm64 */
	void (*reset)(unsigned int c);
	bool (*halt_over)(const struct state *s, unsigned int c);
	bool (*knows)(uint32_t token);		/* of a ready that was early */
	bool (*idle)(const struct state *s, unsigned int c);	/* nothing is remembered */
};

extern const struct guest_half guest_linux, guest_lib;

#endif
