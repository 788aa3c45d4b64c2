/* SPDX-License-Identifier: MIT */
/*
 * One vCPU's engine: how it reaches the guest and the host, what follows from its
 * answers, and the timer that looks again. Where the vCPU runs is run.c.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "kvm/arch.h"

/* Bounds of the timer that retries a ready that could not go out (L5, I4, N6). */
#define BACKOFF_MIN_NS 1000000u
#define BACKOFF_MAX_NS 100000000u

int want(struct apf_kvm *k, uint64_t page)
{
	int r;

	while ((r = apf_mem_want(k->cfg.mem, page)) == -EAGAIN)
		sched_yield();
	return r;
}

unsigned int page_over(struct apf_kvm_vcpu *v, uint64_t gfn, int res)
{
	return res < 0 ? apf_vcpu_page_failed(v->engine, gfn) : apf_vcpu_page_done(v->engine, gfn);
}

void poll_engine(struct apf_kvm_vcpu *v, const struct apf_fault *at)
{
	atomic_store(&v->later, false);
	if (at)
		atomic_store(&v->due, false);
	act_on(v, at ? apf_vcpu_enter(v->engine, at) : apf_vcpu_poll(v->engine));
	if (!atomic_load(&v->later) && !atomic_load(&v->due))
		v->backoff_ns = BACKOFF_MIN_NS;
}

static void later_fired(void *arg)
{
	struct apf_kvm_vcpu *v = arg;

	pthread_mutex_lock(&v->lock);
	v->timer_armed = false;
	if (atomic_load(&v->later)) {
		v->backoff_ns = v->backoff_ns < BACKOFF_MAX_NS / 2 ? v->backoff_ns * 2
								   : BACKOFF_MAX_NS;
		poll_engine(v, NULL);
	}
	pthread_mutex_unlock(&v->lock);
}

/* Lock held. A full queue of the pager is no harm: the next exit tries again. */
static void arm_later(struct apf_kvm_vcpu *v)
{
	if (!v->timer_armed)
		v->timer_armed = !apf_mem_after(v->k->cfg.mem, v->backoff_ns, later_fired, v);
}

static void count_outstanding(struct apf_kvm_vcpu *v)
{
	struct apf_kvm *k = v->k;
	uint32_t is = apf_vcpu_outstanding(v->engine), was = v->outstanding;
	unsigned int total, most = atomic_load(&k->max_outstanding);

	if (is == was)
		return;
	v->outstanding = is;
	total = atomic_fetch_add(&k->outstanding, is - was) + (is - was);
	while (total > most && !atomic_compare_exchange_weak(&k->max_outstanding, &most, total))
		;
}

void act_on(struct apf_kvm_vcpu *v, unsigned int out)
{
	count_outstanding(v);
	if (out & APF_OUT_LATER) {
		atomic_store(&v->later, true);
		arm_later(v);
	}
	if (out & APF_OUT_KICK)
		atomic_store(&v->due, true);
	if ((out & (APF_OUT_WAKE | APF_OUT_KICK)) && atomic_load(&v->attached)) {
		atomic_fetch_add(&v->kicks, 1);
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	}
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_read(v->k, gpa, value, sizeof(*value)) ? -EFAULT : 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_write(v->k, gpa, &value, sizeof(value)) ? -EFAULT : 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_is_ram(v->k, gpa, len);
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct apf_kvm_vcpu *v = ctx;
	int r = arch_raise(v, vector);

	if (r > 0)
		v->backoff_ns = BACKOFF_MIN_NS;
	else
		atomic_fetch_add(&v->msi_blocked, 1);
	return r;
}

static void op_lower(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	arch_lower(ctx, vector);
}

int inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	int err = arch_inject(v, token);

	v->injected = !err;
	return err;
}

/*
 * The vCPU's own thread, between two runs. A HLT ends with it, the guest's as well as
 * ours (L11; a guest's WFI ended with the run); one that is not up, or was just sent an
 * INIT, takes no exception.
 */
static int op_inject(void *ctx, uint32_t token)
{
	struct apf_kvm_vcpu *v = ctx;
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	if (mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != arch_halted)
		return -EAGAIN;
	if (mp.mp_state == arch_halted) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
			return -errno;
	}
	v->halt_page = NO_PAGE;
	v->backoff_ns = BACKOFF_MIN_NS;
	return inject(v, token);
}

static const struct apf_engine_ops engine_ops = {
	.read32 = op_read32,
	.write32 = op_write32,
	.is_ram = op_is_ram,
	.raise = op_raise,
	.inject = op_inject,
	.lower = op_lower,
};

int apf_kvm_vcpu_add(struct apf_kvm *k, uint32_t id, int fd, struct kvm_run *run,
		     struct apf_kvm_vcpu **out)
{
	unsigned int place = atomic_load(&k->nr_vcpus);
	struct apf_vcpu_config cfg = {
		.abi = k->cfg.abi,
		.vcpu_id = id,
		.max_outstanding = k->cfg.max_outstanding,
		.has_lapic = true,
		.policy = k->cfg.policy,
		.ready_irq = k->cfg.ready_ppi,
	};
	size_t size = apf_vcpu_size(cfg.max_outstanding);
	struct apf_kvm_vcpu *v;
	int err;

	if (place >= k->cfg.max_vcpus)
		return apf_error_set(-EINVAL, "kvm: more than max_vcpus=%u vCPUs", k->cfg.max_vcpus);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	*v = (struct apf_kvm_vcpu){ .k = k, .id = id, .fd = fd, .run = run, .halt_page = NO_PAGE,
				    .raced_page = NO_PAGE, .backoff_ns = BACKOFF_MIN_NS };
	v->engine_mem = size ? aligned_alloc(64, (size + 63) & ~63ull) : NULL;
	err = v->engine_mem ? apf_vcpu_init(v->engine_mem, size, &cfg, &engine_ops, v, &v->engine)
			    : -ENOMEM;
	if (!err)
		err = arch_vcpu_init(v);
	if (err) {
		free(v->engine_mem);
		free(v);
		return err;
	}
	pthread_mutex_init(&v->lock, NULL);
	sigemptyset(&v->signals);
	sigaddset(&v->signals, SIGBUS);
	sigaddset(&v->signals, k->cfg.kick_signal);
	atomic_store(&k->vcpus[place], v);
	atomic_store(&k->nr_vcpus, place + 1);
	*out = v;
	return 0;
}

/*
 * Both signals are blocked in the thread and let in only inside KVM_RUN: a SIGBUS
 * that stayed blocked there would make KVM retry the fault for ever, and a kick
 * that comes outside stays pending until KVM_RUN, so that none is lost.
 */
int apf_kvm_vcpu_attach(struct apf_kvm_vcpu *v)
{
	union {
		struct kvm_signal_mask head;
		uint8_t bytes[sizeof(struct kvm_signal_mask) + 8];
	} mask = { .head.len = 8 };
	sigset_t inside;

	if (pthread_sigmask(SIG_BLOCK, &v->signals, NULL))
		return -EINVAL;
	pthread_sigmask(SIG_BLOCK, NULL, &inside);
	sigdelset(&inside, SIGBUS);
	sigdelset(&inside, v->k->cfg.kick_signal);
	memcpy(mask.head.sigset, &inside, 8);	/* the kernel's set is 8 bytes */
	if (ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask) < 0)
		return apf_error_set(-errno, "kvm: KVM_SET_SIGNAL_MASK: %s", strerror(errno));
	v->thread = pthread_self();
	atomic_store(&v->attached, true);
	if (atomic_load(&v->kicked))	/* by somebody who did not know the thread yet */
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	return arch_pin(v);
}

void apf_kvm_kick(struct apf_kvm_vcpu *v)
{
	atomic_store(&v->kicked, true);
	if (atomic_load(&v->attached))
		pthread_kill(v->thread, v->k->cfg.kick_signal);
}

uint64_t apf_kvm_lost(const struct apf_kvm_vcpu *v)
{
	return v->lost_gpa;
}
