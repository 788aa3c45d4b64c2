/* SPDX-License-Identifier: MIT */
/* A vCPU's life: bound to the VM and to a thread, kicked, let go of, removed. */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <apf/error.h>

#include "kvm/arch.h"

#define BIT(state) (1u << (state))

void apf_doing_step(struct apf_kvm_vcpu *v, enum doing to)
{
	static const unsigned int legal[] = {
		[STARTS] = BIT(RUNS),
		[RUNS] = BIT(NOTIFIED) | BIT(HALTED) | BIT(WAITS) | BIT(EXITS),
		[NOTIFIED] = BIT(RUNS),
		[HALTED] = BIT(RUNS),
		[WAITS] = BIT(RUNS),
		[EXITS] = BIT(RUNS),
	};

	assert(legal[v->doing] & BIT(to));
	v->doing = to;
}

/* A place for a vCPU: one that was removed, or a new one. A place stays till the VM goes. */
static int find_place(struct apf_kvm *k, uint32_t id, struct apf_kvm_vcpu **out)
{
	unsigned int n = atomic_load(&k->nr_vcpus);
	size_t size = apf_vcpu_size(k->cfg.max_outstanding);
	struct apf_kvm_vcpu *v, *vacant = NULL;

	for (unsigned int i = 0; i < n; i++) {
		v = atomic_load(&k->vcpus[i]);
		if (!v->bound)
			vacant = v;
		else if (v->id == id)
			return apf_error_set(-EEXIST, "kvm: vCPU %u is there already", id);
	}
	*out = vacant;
	if (vacant)
		return 0;
	if (n >= k->cfg.max_vcpus)
		return apf_error_set(-EINVAL, "kvm: more than max_vcpus=%u vCPUs", k->cfg.max_vcpus);
	v = calloc(1, sizeof(*v));
	if (!v)
		return apf_error_set(-ENOMEM, "kvm: no memory for a vCPU");
	v->engine_mem = size ? aligned_alloc(64, size) : NULL;
	if (!v->engine_mem) {
		free(v);
		return apf_error_set(-ENOMEM, "kvm: no memory for a vCPU");
	}
	pthread_mutex_init(&v->lock, NULL);
	atomic_store(&k->vcpus[n], v);
	atomic_store(&k->nr_vcpus, n + 1);
	*out = v;
	return 0;
}

static int init_engine(struct apf_kvm_vcpu *v)
{
	const struct apf_kvm_config *k = &v->k->cfg;
	const struct apf_vcpu_config cfg = {
		.abi = k->abi,
		.vcpu_id = v->id,
		.max_outstanding = k->max_outstanding,
		.has_lapic = apf_arch_has_lapic(v),
		.policy = k->policy,
		.ready_irq = k->ready_ppi,
	};

	apf_link_init(v);
	return apf_vcpu_init(v->engine_mem, apf_vcpu_size(k->max_outstanding), &cfg, &apf_link_ops, v,
			     &v->engine);
}

int apf_kvm_vcpu_add(struct apf_kvm *k, uint32_t id, int fd, struct kvm_run *run,
		     struct apf_kvm_vcpu **out)
{
	struct apf_kvm_vcpu *v;
	int err = find_place(k, id, &v);

	if (err)
		return err;
	pthread_mutex_lock(&v->lock);
	v->k = k;
	v->id = id;
	v->fd = fd;
	v->run = run;
	v->doing = STARTS;
	v->raced_page = NO_PAGE;
	atomic_store(&v->asked, 0);
	v->traps = v->raced = v->emulated = v->kicks = v->msi_blocked = 0;
	err = init_engine(v);
	if (!err)
		err = apf_arch_vcpu_init(v);
	v->may_halt = k->cfg.halt == APF_HALT_AUTO && apf_arch_may_halt(v);
	v->bound = !err;
	pthread_mutex_unlock(&v->lock);
	if (!err)
		*out = v;
	return err;
}

int apf_kvm_vcpu_remove(struct apf_kvm_vcpu *v)
{
	if (atomic_load(&v->attached))
		return apf_error_set(-EBUSY, "vcpu %u: a thread runs it: apf_kvm_vcpu_detach", v->id);
	pthread_mutex_lock(&v->lock);
	apf_vcpu_reset(v->engine);
	apf_link_act(v, 0);
	v->bound = false;
	pthread_mutex_unlock(&v->lock);
	return 0;
}

/* Which signals come when: see struct apf_kvm_vcpu. */
static void choose_signals(struct apf_kvm_vcpu *v)
{
	const struct apf_kvm_config *cfg = &v->k->cfg;

	sigemptyset(&v->wakeups);
	if (cfg->on_signal)
		v->wakeups = cfg->signals;
	sigaddset(&v->wakeups, cfg->kick_signal);
	sigdelset(&v->wakeups, SIGBUS);
	v->signals = v->wakeups;
	sigaddset(&v->signals, SIGBUS);
}

/*
 * All are blocked in the thread and let in only inside KVM_RUN: a SIGBUS that stayed
 * blocked there would make KVM retry the fault for ever, and a kick that comes outside
 * stays pending until KVM_RUN, so that none is lost.
 */
int apf_kvm_vcpu_attach(struct apf_kvm_vcpu *v)
{
	union {
		struct kvm_signal_mask head;
		uint8_t bytes[sizeof(struct kvm_signal_mask) + 8];
	} mask = { .head.len = 8 };
	sigset_t inside, before;
	int err;

	if (atomic_load(&v->attached))
		return apf_error_set(-EBUSY, "vcpu %u: another thread runs it", v->id);
	choose_signals(v);
	pthread_sigmask(SIG_BLOCK, &v->signals, &before);
	pthread_sigmask(SIG_BLOCK, NULL, &inside);
	for (int signal = 1; signal < NSIG; signal++)
		if (sigismember(&v->signals, signal) == 1)
			sigdelset(&inside, signal);
	memcpy(mask.head.sigset, &inside, 8);	/* the kernel's set is 8 bytes */
	if (ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask) < 0) {
		err = apf_error_set(-errno, "kvm: KVM_SET_SIGNAL_MASK: %s", strerror(errno));
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		return err;
	}
	v->thread = pthread_self();
	atomic_store(&v->attached, true);
	if (atomic_load(&v->asked) & ASK_OUT)	/* by somebody who did not know the thread yet */
		apf_signal_vcpu(v);
	return 0;
}

/* The kick's signal may be pending still; the request itself stays. */
void apf_kvm_vcpu_detach(struct apf_kvm_vcpu *v)
{
	static const struct timespec now;
	sigset_t kick;

	atomic_store(&v->attached, false);
	while (atomic_load(&v->signalling))
		sched_yield();
	sigemptyset(&kick);
	sigaddset(&kick, v->k->cfg.kick_signal);
	sigtimedwait(&kick, NULL, &now);
}

/* Either it is seen here that the thread has gone, or the thread sees that it must wait. */
void apf_signal_vcpu(struct apf_kvm_vcpu *v)
{
	atomic_fetch_add(&v->signalling, 1);
	if (atomic_load(&v->attached))
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	atomic_fetch_sub(&v->signalling, 1);
}

void apf_kvm_kick(struct apf_kvm_vcpu *v)
{
	atomic_fetch_or(&v->asked, ASK_OUT);
	apf_signal_vcpu(v);
}

bool apf_kvm_vcpu_pending(const struct apf_kvm_vcpu *v)
{
	return v->doing == EXITS;
}

uint64_t apf_kvm_lost(const struct apf_kvm_vcpu *v)
{
	return v->lost_gpa;
}
