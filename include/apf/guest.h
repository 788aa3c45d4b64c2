/* SPDX-License-Identifier: MIT */
/*
 * libapf-guest: the guest half, for kernels that have none.
 *
 * Freestanding: no libc, no allocation after set-up, no hidden state. The kernel
 * supplies a table of functions; the library keeps the list of who waits for
 * which page and speaks the protocol. docs/guest.md has a worked example.
 *
 * Nothing that the host does through this interface is trusted. Whenever a
 * notification makes no sense the library clears it and lets the access happen
 * again, which is always correct: a fault that was real comes back as one, and a
 * page that is still missing makes the host halt the CPU. A hostile host can so
 * stop the guest, but not make it take a token for an address.
 *
 * Rules for all functions: called on the CPU they are about, with interrupts off
 * and without migrating. A CPU's state is then touched by that CPU only, and
 * there is no lock. State is plain data: an apf_guest, its apf_guest_cpu's and the
 * queued waiters may be copied away and back to the same addresses.
 */
#ifndef APF_GUEST_H
#define APF_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/apf_abi_arm64.h"
#include "abi/apf_abi_x86.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Errors are negative, with Linux's numbers. */
#define APF_GUEST_EIO		5	/* the host refused a control write or call */
#define APF_GUEST_ENOMEM	12
#define APF_GUEST_EINVAL	22

/* Generations of the protocol, as a guest sees them. */
enum apf_guest_abi {
	APF_GUEST_OFF,		/* the host offers none */
	APF_GUEST_X86_2010,	/* rows L: both notifications as #PF */
	APF_GUEST_X86_RFC,	/* rows I: ready as an interrupt, one word for both */
	APF_GUEST_X86_INT,	/* rows N: today's */
	APF_GUEST_ARM64_ABORT,	/* rows A, first revision: both notifications as data aborts */
	APF_GUEST_ARM64_INT,	/* second revision: ready as a PPI (A16) */
};

/*
 * One who waits for a page. Intrusive: lives on the faulting task's own kernel
 * stack (or in its task struct), in a struct of the kernel's that says whose it
 * is, and must stay there until it is woken; a task that waits here cannot be
 * killed. The fields are the library's, who sets them when it queues the waiter;
 * `link` is not NULL while it is queued.
 */
struct apf_guest_waiter {
	struct apf_guest_waiter *next;
	struct apf_guest_waiter **link;
	uint32_t token;
	uint32_t cpu;		/* where its NP came, and its ready will come */
	bool halts;		/* its CPU halts: there is nothing to schedule (L9) */
};

/* V1, the guest's side. */
enum apf_guest_event {
	APF_GUEST_EV_NP,	/* an NP was received */
	APF_GUEST_EV_SLEPT,	/* its task goes to sleep */
	APF_GUEST_EV_HALTED,	/* its CPU halts, since the task cannot be scheduled away (L9) */
	APF_GUEST_EV_READY,	/* a ready was received */
	APF_GUEST_EV_WOKEN,	/* a waiter was woken, by ready or broadcast */
	APF_GUEST_EV_BROADCAST,	/* a wake-all was received (C6) */
	APF_GUEST_EV_EARLY,	/* a ready that nobody waits for: remembered for its NP (L9) */
	APF_GUEST_EV_EARLY_NP,	/* an NP that does not sleep: its ready had come before */
	APF_GUEST_EV_RESTART,	/* no room to remember: APF was switched off and on again */
	APF_GUEST_EV_REJECTED,	/* something no correct host sends; the access happens again */
	APF_GUEST_EV_COUNT
};

/*
 * What the kernel supplies. All but trace, and what is the other architecture's, are
 * needed; ctx is the one given to init.
 */
struct apf_guest_ops {
	/* Index of this CPU, 0 to cpus - 1. */
	uint32_t (*cpu)(void *ctx);
	/*
	 * Set-up only: size bytes of zeroed, physically contiguous memory, aligned to
	 * 64 bytes, that stays where it is; its physical address in *phys. NULL: none.
	 */
	void *(*alloc)(void *ctx, size_t size, uint64_t *phys);
	/* May the current task be scheduled away? No in idle tasks and where preemption is off. */
	bool (*can_sleep)(void *ctx);
	/*
	 * Block the current task until wake(ctx, w) was called for w, be it before or
	 * after, and return with interrupts off. The task may come back on another CPU.
	 */
	void (*sleep)(void *ctx, struct apf_guest_waiter *w);
	/*
	 * Called once per waiter that sleeps, in a notification. The library does not
	 * touch w again; w is gone as soon as the kernel lets its task run.
	 */
	void (*wake)(void *ctx, struct apf_guest_waiter *w);
	/*
	 * Enable interrupts, halt until one was served, disable them again. One that
	 * comes between enabling and halting must end the halt (x86: sti; hlt; cli; arm64: wfi
	 * first, where they are pending while still off).
	 */
	void (*halt)(void *ctx);
	/* End of the ready interrupt at the interrupt controller. */
	void (*eoi)(void *ctx);
	/* Optional (NULL): called at every change of state; token is 0 where there is none. */
	void (*trace)(void *ctx, enum apf_guest_event ev, uint32_t cpu, uint32_t token);

	/* x86 only. An MSR access returns 0, or non-zero if it raised #GP. */
	int (*wrmsr)(void *ctx, uint32_t msr, uint64_t value);
	/* *eax to *edx of a leaf, sub-leaf 0, into r[0..3]. */
	void (*cpuid)(void *ctx, uint32_t leaf, uint32_t r[4]);

	/* arm64 only. A hypervisor call: x0 to x6 in, x0 to x3 out. */
	void (*hvc)(void *ctx, const uint64_t x[7], uint64_t r[4]);
};

#define APF_GUEST_BUCKETS	32	/* of waiters; any number of waiters fits */
#define APF_GUEST_EARLY		16	/* readies remembered before their NP */

/*
 * One CPU's state. The area comes first, so that it has a cache line of its own. Reason,
 * token and `enabled`, which is ours, are at the same places in both.
 */
struct apf_guest_cpu {
	union {
		struct apf_area_x86 area;	/* shared with the host */
		struct apf_area_arm64 area_arm64;
	};
	uint32_t id;
	uint64_t phys;			/* of the area */
	uint32_t epoch;			/* counts wake-alls: an NP from before one does not sleep */
	uint32_t nr_early;
	uint32_t early[APF_GUEST_EARLY];
	struct apf_guest_waiter *bucket[APF_GUEST_BUCKETS];
} __attribute__((aligned(64)));

struct apf_guest {
	const struct apf_guest_ops *ops;
	void *ctx;
	struct apf_guest_cpu **cpu;
	uint32_t cpus;
	/* The caller sets these after init and changes them only while no CPU is enabled. */
	enum apf_guest_abi abi;
	uint8_t vector;			/* x86: of the ready interrupt, 32 to 255; not for 2010 */
	bool send_always;		/* NP in kernel mode too (L1, A2) */
	bool keeps_busy;		/* arm64: the kernel uses the busy word (A11) */
	/* arm64: detection and apf_guest_arm64_add_region set these. */
	uint32_t intid;			/* of the ready interrupt, a PPI: 16 to 31 */
	uint32_t regions;
	struct apf_guest_region {
		uint64_t start, size;	/* virtual addresses of code */
	} region[APF_ARM64_REGIONS];
};

/*
 * Set up for this many CPUs; ops and ctx are borrowed for good. Allocates all
 * that is ever needed. 0, -APF_GUEST_EINVAL (no CPU), -APF_GUEST_ENOMEM.
 */
int apf_guest_init(struct apf_guest *g, const struct apf_guest_ops *ops, void *ctx, uint32_t cpus);

/* What the #PF or data-abort hook found. */
enum apf_guest_pf {
	APF_GUEST_PF_ORDINARY,	/* not ours; nothing was changed: handle it as a fault */
	APF_GUEST_PF_RETRY,	/* ours and done: return from the exception */
	APF_GUEST_PF_WAIT,	/* ours: an NP to wait for */
	APF_GUEST_PF_BROKEN,	/* the host injected where it must not and state is lost: panic */
};

/* An NP that was received and not waited for yet. */
struct apf_guest_notice {
	uint32_t token;
	uint32_t cpu;
	uint32_t epoch;
};

/*
 * Queue w for a notice. PF_WAIT: call apf_guest_sleep next. PF_RETRY: there is
 * nothing to wait for (any more): its ready came first (L9), a wake-all came in
 * between, the task was moved to another CPU in between.
 */
enum apf_guest_pf apf_guest_wait(struct apf_guest *g, const struct apf_guest_notice *n,
				 struct apf_guest_waiter *w);

/* Sleep, or halt this CPU (L9), until a queued waiter is woken. */
void apf_guest_sleep(struct apf_guest *g, struct apf_guest_waiter *w);

/* --- x86 --- */

/* What a #PF entry knows; cr2 must be read before interrupts are enabled (L8). */
struct apf_guest_x86_trap {
	uint64_t cr2;
	uint32_t error_code;
	bool user;		/* of the interrupted code: CPL is 3 */
	bool irqs_on;		/* of the interrupted code: RFLAGS.IF */
};

/*
 * The newest generation that the host offers (N5, I8). Probes by CPUID and, to
 * tell 2020-RFC from 2010, by writing bit 3 of EN: only before enabling.
 */
enum apf_guest_abi apf_guest_x86_detect(struct apf_guest *g);

/*
 * Enable APF on this CPU, with g's generation, vector and send_always. The
 * kernel must be ready for its notifications. One that is enabled already (this
 * CPU was reset) starts anew and wakes all of its waiters. 0, or
 * -APF_GUEST_EIO: refused, APF is off here; -APF_GUEST_EINVAL: g->abi is OFF.
 */
int apf_guest_x86_enable(struct apf_guest *g);

/* Disable APF on this CPU and wake all of its waiters (N9): when it goes offline. */
void apf_guest_x86_disable(struct apf_guest *g);

/*
 * "Was this one ours?": all that a #PF handler needs. Call it first, with
 * interrupts still off since the exception (L8, I7, N9); sleeps where that is
 * called for, with w; comes back with interrupts off. Never returns PF_WAIT.
 */
enum apf_guest_pf apf_guest_x86_page_fault(struct apf_guest *g,
					   const struct apf_guest_x86_trap *t,
					   struct apf_guest_waiter *w);

/*
 * The first step of it alone, for kernels whose handler enables interrupts early
 * and for model checkers. On PF_WAIT, *n is filled in: apf_guest_wait is next.
 */
enum apf_guest_pf apf_guest_x86_notice(struct apf_guest *g, const struct apf_guest_x86_trap *t,
				       struct apf_guest_notice *n);

/* The handler of the ready interrupt (I7, N9), EOI included. Not for 2010. */
void apf_guest_x86_ready(struct apf_guest *g);

/* --- arm64 --- */

/* What a data abort's entry knows; far and esr must be read before interrupts are enabled (L8). */
struct apf_guest_arm64_trap {
	uint64_t far, esr;
	uint64_t pc;		/* of the interrupted code */
	bool irqs_on;		/* of the interrupted code: PSTATE.I is 0 */
};

/*
 * The newest revision that the host offers, by the features call and OP_INFO (A1); sets
 * g->intid. Only where hypervisor calls go by HVC, as the device tree says of PSCI.
 */
enum apf_guest_abi apf_guest_arm64_detect(struct apf_guest *g);

/*
 * Code that cannot take an abort although interrupts are on there (A10): no notification
 * comes while the PC is in it. Before enabling. -APF_GUEST_EINVAL: empty, it wraps around,
 * or there are APF_ARM64_REGIONS already.
 */
int apf_guest_arm64_add_region(struct apf_guest *g, uint64_t start, uint64_t size);

/*
 * Enable APF on this CPU: as apf_guest_x86_enable, with g's revision, send_always, regions
 * and keeps_busy. Send-always is refused to a guest that has neither of the last two.
 */
int apf_guest_arm64_enable(struct apf_guest *g);

/* Disable APF on this CPU and wake all of its waiters: when it goes offline. */
void apf_guest_arm64_disable(struct apf_guest *g);

/*
 * While this CPU cannot take an abort although interrupts are on (A11): between the two no
 * notification comes, provided that keeps_busy is set. They nest, and unlike the others may
 * be called with interrupts on, where the task cannot move to another CPU.
 */
void apf_guest_arm64_busy_begin(struct apf_guest *g);
void apf_guest_arm64_busy_end(struct apf_guest *g);

/*
 * "Was this one ours?" (A12): all that a data abort's handler needs, for aborts from EL0 and
 * EL1, whichever access they are blamed on. As apf_guest_x86_page_fault.
 */
enum apf_guest_pf apf_guest_arm64_abort(struct apf_guest *g, const struct apf_guest_arm64_trap *t,
					struct apf_guest_waiter *w);

/* The first step of it alone, as apf_guest_x86_notice. */
enum apf_guest_pf apf_guest_arm64_notice(struct apf_guest *g, const struct apf_guest_arm64_trap *t,
					 struct apf_guest_notice *n);

/* The handler of the ready interrupt of the second revision (A16), EOI included. */
void apf_guest_arm64_ready(struct apf_guest *g);

#ifdef __cplusplus
}
#endif
#endif
