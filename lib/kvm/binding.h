/* SPDX-License-Identifier: MIT */
/*
 * Inside of the binding: its two structs, what a vCPU can be doing, and the seam between
 * what all architectures share and what one needs (arch.h).
 *
 *   vm.c      the VM: set-up, what the pager tells, statistics
 *   pages.c   guest-physical addresses, gfns and RAM pages
 *   vcpu.c    a vCPU's life: bound to the VM and to a thread, kicked, removed
 *   run.c     its run loop: from a trap to what was decided
 *   link.c    its engine: what goes in, what comes out
 *   state.c   reset, save and load
 */
#ifndef KVM_BINDING_H
#define KVM_BINDING_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <apf/engine.h>
#include <apf/gpa_cache.h>
#include <apf/kvm.h>
#include <apf/memory.h>

#define MAX_SLOTS 8u

/*
 * Two numbers that count 4 KiB, of two different things; they are equal only where a slot
 * happens to lie at its own offset. What is plain uint64_t is an address in bytes.
 */
struct gfn {
	uint64_t nr;		/* of guest-physical space: the engine's and the guest's */
};

struct ram_page {
	uint64_t nr;		/* of the memfd: lib/memory's; UINT64_MAX: not RAM */
};

#define NO_PAGE ((struct ram_page){ UINT64_MAX })

static inline bool is_page(struct ram_page p)
{
	return p.nr != UINT64_MAX;
}

/*
 * What every step of the run loop answers; a function that returns it may also return a
 * negative errno, which goes to the caller of apf_kvm_run with apf_error set. GO_ON is 0,
 * so that the first step with another answer ends a chain of them.
 */
enum next {
	GO_ON,			/* the library has dealt with it: the guest runs on */
	TO_CALLER,		/* an exit that is the VMM's: apf_kvm_run returns 0 */
};

/*
 * What a vCPU is doing. Its own thread alone makes steps (apf_doing_step, which knows the
 * legal ones); while it has no thread, whoever owns it then.
 *
 *   from       to         because
 *   STARTS     RUNS       the pages are here that KVM reads without a trap
 *   RUNS       NOTIFIED   an NP or a ready was injected
 *   RUNS       HALTED     a fault's verdict (C4 a)
 *   RUNS       WAITS      a fault's verdict (C4 b)
 *   RUNS       EXITS      KVM_RUN returned with an exit
 *   NOTIFIED   RUNS       KVM_RUN took the exception in
 *   HALTED     RUNS       its page came; an interrupt ended it, as an exit or a trap shows; reset, load
 *   WAITS      RUNS       its page came or is lost; or the caller is wanted: the access traps again
 *   EXITS      RUNS       the exit is dealt with, or the VMM's
 *
 * apf_kvm_run may be left in any but WAITS. An exit that was left (a kick came while it
 * needed a page) is gone on with at the next run; until then apf_kvm_vcpu_pending is true.
 */
enum doing {
	STARTS,		/* it has not run yet */
	RUNS,		/* the guest, or its thread between two runs; nothing of ours is in its way */
	NOTIFIED,	/* an exception of ours is pending that no run has taken in */
	HALTED,		/* stands at halt_page, halted in KVM: interrupts wake it unseen and are served */
	WAITS,		/* stands at a page outside the guest, which is served nothing */
	EXITS,		/* an exit is being dealt with, which may wait for pages */
};

/* What other threads ask of the vCPU's. */
enum ask {
	ASK_OUT = 1,	/* the VMM: leave apf_kvm_run */
	ASK_POLL = 2,	/* the engine has something queued (N6) */
	ASK_ENTER = 4,	/* it has a ready to inject at the next entry (L5) */
};

/*
 * Traps taken in a row on one page that the books call resident, before it is
 * believed to be a real memory error. A few are normal: the page came between
 * the trap and our look.
 */
#define RACES_BEFORE_ERROR 64u

/* Mode kernel: between the engine's control registers and those of KVM's own APF. */
struct kernel_controls {
	int (*get)(struct apf_kvm_vcpu *v);
	int (*set)(struct apf_kvm_vcpu *v);
};

struct apf_kvm {
	struct apf_kvm_config cfg;
	struct apf_kvm_slot slots[MAX_SLOTS];
	uint32_t layout;		/* number of what they are now, from 1: caches compare it */
	bool sync_regs;			/* x86: KVM_CAP_SYNC_REGS covers registers and events */
	bool tells_nested;		/* x86: KVM_RUN_X86_GUEST_MODE is to be had (C14) */
	bool software_walks;		/* x86: KVM reads page tables by itself, without a trap */
	const struct kernel_controls *kernel;	/* mode kernel, else NULL */
	_Atomic(struct apf_kvm_vcpu *) *vcpus;	/* cfg.max_vcpus, in order of adding */
	atomic_uint nr_vcpus;		/* places; those of removed vCPUs are used again */
	atomic_uint outstanding;	/* over all vCPUs, as last seen */
	atomic_uint max_outstanding;
};

struct apf_kvm_vcpu {
	struct apf_kvm *k;
	uint32_t id;
	int fd;
	struct kvm_run *run;
	enum doing doing;
	atomic_uint asked;		/* ASK_ bits */
	pthread_t thread;		/* that runs it, if attached */
	atomic_bool attached;
	atomic_uint signalling;		/* threads that may be about to signal it */
	atomic_bool noted;		/* the end of the page it stands at will bring a signal */

	bool may_halt;			/* C4 (a): else it waits outside the guest */

	pthread_mutex_t lock;		/* the engine's; held across no blocking call */
	bool bound;			/* else its place is free; under lock */
	struct apf_vcpu *engine;
	void *engine_mem;
	uint32_t outstanding;		/* share of k->outstanding; under lock */
	bool timer_armed;		/* the engine's queue is looked at again; under lock */
	uint64_t backoff_ns;		/* of that timer; under lock */
	struct apf_gpa_cache area;	/* of the engine's words (V2); under lock */

	/* The rest belongs to the vCPU's thread. */
	struct ram_page halt_page;	/* HALTED: for this page, */
	uint64_t halt_pc;		/* at this instruction */
	unsigned int fetched;		/* pages that the exit at hand had to wait for */
	struct ram_page raced_page;
	unsigned int races;
	uint64_t failed_pc;		/* x86: the last instruction that KVM failed at, */
	unsigned int failures;		/* so many times in a row without a page that came for it */
	unsigned int unnamed;		/* traps in a row that did not say where */
	uint64_t lost_gpa;
	sigset_t signals;		/* let in inside KVM_RUN: SIGBUS and */
	sigset_t wakeups;		/* those that end waits: the kick signal, the VMM's own */
	atomic_ulong traps, raced, emulated, kicks, msi_blocked;
};

static inline uint64_t slot_end(const struct apf_kvm_slot *s)
{
	return s->gpa + s->size;
}

/* pages.c. Where slots lie from now on; nobody reads guest memory meanwhile. */
void apf_slots_set(struct apf_kvm *k, const struct apf_kvm_slot *slots, unsigned int n);
/* The slot of an address, or NULL. */
const struct apf_kvm_slot *apf_slot_at(const struct apf_kvm *k, uint64_t gpa);
/* The RAM page of an address or gfn, NO_PAGE if it is none, and back. */
struct ram_page apf_page_at(const struct apf_kvm *k, uint64_t gpa);
struct ram_page apf_page_of_gfn(const struct apf_kvm *k, struct gfn gfn);
uint64_t apf_page_gpa(const struct apf_kvm *k, struct ram_page page);
struct gfn apf_page_gfn(const struct apf_kvm *k, struct ram_page page);
/* Ask for a page: 1 here, 0 on its way, -EAGAIN the queue is full, -EIO lost. */
int apf_page_want(struct apf_kvm *k, struct ram_page page);
/* Read or write guest-physical memory without side effects; 0, -EFAULT or -ERANGE. */
int apf_gpa_read(const struct apf_kvm *k, uint64_t gpa, void *buf, size_t len);
int apf_gpa_write(const struct apf_kvm *k, uint64_t gpa, const void *buf, size_t len);
/* Is [gpa, gpa + len) RAM of one slot? That the guest can write? */
bool apf_gpa_is_ram(const struct apf_kvm *k, uint64_t gpa, uint64_t len);
bool apf_gpa_is_writable(const struct apf_kvm *k, uint64_t gpa, uint64_t len);
/* Make it resident, waiting, before the first run; parts that are no RAM are skipped. 0 or -EIO. */
int apf_gpa_need(const struct apf_kvm *k, uint64_t gpa, uint64_t len);

/* vcpu.c. The vCPU makes this step, which must be a legal one. Its own thread. */
void apf_doing_step(struct apf_kvm_vcpu *v, enum doing to);
/* Send the kick signal, if there is a thread. Any thread, or signal handler. */
void apf_signal_vcpu(struct apf_kvm_vcpu *v);

/* link.c. All but apf_link_fault with the lock held. What to do about APF_OUT_ bits. */
void apf_link_act(struct apf_kvm_vcpu *v, unsigned int out);
/* Tell the engine that a page has come, or is lost (res < 0). APF_OUT_ bits. */
unsigned int apf_link_page_over(struct apf_kvm_vcpu *v, struct gfn gfn, int res);
/* Look at the engine's queue. at: the state in which the vCPU runs on, or NULL. */
void apf_link_poll(struct apf_kvm_vcpu *v, const struct apf_fault *at);
/*
 * A fault on a page that is on its way: let the engine decide, inject if it says so. *d has the
 * verdict; f->gfn is filled in. vCPU's thread.
 */
void apf_link_fault(struct apf_kvm_vcpu *v, struct ram_page page, struct apf_fault *f,
		    struct apf_decision *d);
void apf_link_init(struct apf_kvm_vcpu *v);
extern const struct apf_engine_ops apf_link_ops;

/* run.c. A page is lost (-EIO), or broken memory (-EHWPOISON): say so, return err. */
int apf_run_lost(struct apf_kvm_vcpu *v, uint64_t gpa, int err);
/*
 * An exit, or the start, needs [gpa, gpa + len) resident: a fault like others, but of KVM's
 * (apf_fault.by_kvm). Parts that are no RAM are skipped. GO_ON: all is here; -EINTR: the caller
 * is wanted, do it again at the next run; -EIO: lost.
 */
int apf_run_need(struct apf_kvm_vcpu *v, uint64_t gpa, uint64_t len);
/* HALTED: is it still in that halt, and not in one of the guest's own? */
bool apf_run_in_our_halt(struct apf_kvm_vcpu *v, uint32_t mp_state);
/* HALTED: not any more. GO_ON or negative errno. */
int apf_run_end_halt(struct apf_kvm_vcpu *v);

#endif
