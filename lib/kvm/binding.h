/* SPDX-License-Identifier: MIT */
/*
 * Inside of the binding: its two structs and the seam between what all
 * architectures share (vm.c, vcpu.c, run.c, state.c) and what one needs (arch.h).
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
#include <apf/kvm.h>
#include <apf/memory.h>

#define MAX_SLOTS 8u
#define NO_PAGE UINT64_MAX

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
	bool sync_regs;			/* x86: KVM_CAP_SYNC_REGS covers registers and events */
	const struct kernel_controls *kernel;	/* mode kernel, else NULL */
	_Atomic(struct apf_kvm_vcpu *) *vcpus;	/* cfg.max_vcpus, in order of adding */
	atomic_uint nr_vcpus;
	atomic_uint outstanding;	/* over all vCPUs, as last seen */
	atomic_uint max_outstanding;
};

struct apf_kvm_vcpu {
	struct apf_kvm *k;
	uint32_t id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	atomic_bool attached;		/* thread is valid */

	pthread_mutex_t lock;		/* the engine's; held across no blocking call */
	struct apf_vcpu *engine;
	void *engine_mem;
	uint32_t outstanding;		/* share of k->outstanding; under lock */

	atomic_bool kicked;		/* the VMM wants apf_kvm_run to return */
	atomic_bool later;		/* the engine has something queued (N6) */
	atomic_bool due;		/* it has a ready to inject at the next entry (L5) */
	bool timer_armed;		/* it looks again; under lock */
	uint64_t backoff_ns;		/* of that timer; under lock */

	/* The rest belongs to the vCPU's thread. */
	bool looked;			/* at the queue, since the last exit */
	bool injected;			/* an exception is pending that no run has taken in */
	uint64_t halt_page;		/* halted for this page, or NO_PAGE */
	uint64_t halt_pc;
	uint64_t raced_page;
	unsigned int races;
	uint64_t lost_gpa;
	sigset_t signals;		/* SIGBUS and the kick signal */
	atomic_ulong traps, raced, emulated, kicks, msi_blocked;
};

static inline uint64_t slot_end(const struct apf_kvm_slot *s)
{
	return s->gpa + s->size;
}

/* vm.c: between guest-physical addresses and RAM pages. NO_PAGE: not RAM. */
uint64_t gpa_to_page(const struct apf_kvm *k, uint64_t gpa);
uint64_t page_to_gpa(const struct apf_kvm *k, uint64_t page);
/* Read or write guest-physical memory without side effects; 0, -EFAULT or -ERANGE. */
int gpa_read(const struct apf_kvm *k, uint64_t gpa, void *buf, size_t len);
int gpa_write(const struct apf_kvm *k, uint64_t gpa, const void *buf, size_t len);
/* Is [gpa, gpa + len) RAM of one slot? */
bool gpa_is_ram(const struct apf_kvm *k, uint64_t gpa, uint64_t len);
/* Make [gpa, gpa + len) resident, waiting; parts that are no RAM are skipped. 0 or -EIO. */
int gpa_need(const struct apf_kvm *k, uint64_t gpa, uint64_t len);

/* vcpu.c: ask for a page until the queue takes it: 1 here, 0 on its way, -EIO lost. */
int want(struct apf_kvm *k, uint64_t page);
/* What to do about APF_OUT_ bits; lock held. */
void act_on(struct apf_kvm_vcpu *v, unsigned int out);
/* Tell the engine that a page has come, or is lost (res < 0); lock held. APF_OUT_ bits. */
unsigned int page_over(struct apf_kvm_vcpu *v, uint64_t gfn, int res);
/*
 * Lock held. `later` may only be taken back where the whole queue was looked at. at: the
 * state in which the vCPU runs on, or NULL.
 */
void poll_engine(struct apf_kvm_vcpu *v, const struct apf_fault *at);
/* arch_inject, and remember it. */
int inject(struct apf_kvm_vcpu *v, uint32_t token);

/* run.c: a page is lost (-EIO), or broken memory (-EHWPOISON): say so, return err. */
int lose(struct apf_kvm_vcpu *v, uint64_t gpa, int err);
/* Is the vCPU still in the halt that we put it into, and not in one of its own? */
bool halted_by_us(struct apf_kvm_vcpu *v, uint32_t mp_state);
/* An interrupt has ended our halt: let the guest run. 1, or negative errno. */
int wake(struct apf_kvm_vcpu *v);

#endif
