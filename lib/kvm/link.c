/* SPDX-License-Identifier: MIT */
/*
 * One vCPU's engine: how it reaches the guest and the host, what follows from its
 * answers, and the timer that looks again. Where the vCPU runs is run.c.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"

/* Bounds of the timer that retries a ready that could not go out (L5, I4, N6). */
#define BACKOFF_MIN_NS 1000000u
#define BACKOFF_MAX_NS 100000000u

void apf_link_init(struct apf_kvm_vcpu *v)
{
	v->backoff_ns = BACKOFF_MIN_NS;
}

unsigned int apf_link_page_over(struct apf_kvm_vcpu *v, struct gfn gfn, int res)
{
	return res < 0 ? apf_vcpu_page_failed(v->engine, gfn.nr)
		       : apf_vcpu_page_done(v->engine, gfn.nr);
}

/* What was asked for before is answered by this look at the whole queue. */
void apf_link_poll(struct apf_kvm_vcpu *v, const struct apf_fault *at)
{
	atomic_fetch_and(&v->asked, at ? ~(ASK_POLL | ASK_ENTER) : ~ASK_POLL);
	apf_link_act(v, at ? apf_vcpu_enter(v->engine, at) : apf_vcpu_poll(v->engine));
	if (!(atomic_load(&v->asked) & (ASK_POLL | ASK_ENTER)))
		v->backoff_ns = BACKOFF_MIN_NS;
}

static void timer_fired(void *arg)
{
	struct apf_kvm_vcpu *v = arg;

	pthread_mutex_lock(&v->lock);
	v->timer_armed = false;
	if (atomic_load(&v->asked) & ASK_POLL) {
		v->backoff_ns = v->backoff_ns < BACKOFF_MAX_NS / 2 ? v->backoff_ns * 2
								   : BACKOFF_MAX_NS;
		apf_link_poll(v, NULL);
	}
	pthread_mutex_unlock(&v->lock);
}

/* A full queue of the pager is no harm: the next exit tries again. */
static void arm_timer(struct apf_kvm_vcpu *v)
{
	if (!v->timer_armed)
		v->timer_armed = !apf_mem_after(v->k->cfg.mem, v->backoff_ns, timer_fired, v);
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

void apf_link_act(struct apf_kvm_vcpu *v, unsigned int out)
{
	count_outstanding(v);
	if (out & APF_OUT_LATER) {
		atomic_fetch_or(&v->asked, ASK_POLL);
		arm_timer(v);
	}
	if (out & APF_OUT_KICK)
		atomic_fetch_or(&v->asked, ASK_ENTER);
	if (out & APF_OUT_WAKE)
		atomic_store(&v->noted, false);
	if (out & (APF_OUT_WAKE | APF_OUT_KICK)) {
		atomic_fetch_add(&v->kicks, 1);
		apf_signal_vcpu(v);
	}
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	struct apf_kvm_vcpu *v = ctx;

	return apf_gpa_cache_read(&v->area, v->k, gpa, value, sizeof(*value)) ? -EFAULT : 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	struct apf_kvm_vcpu *v = ctx;

	return apf_gpa_cache_write(&v->area, v->k, gpa, &value, sizeof(value)) ? -EFAULT : 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	struct apf_kvm_vcpu *v = ctx;

	return (writable ? apf_gpa_is_writable : apf_gpa_is_ram)(v->k, gpa, len);
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct apf_kvm_vcpu *v = ctx;
	int r = apf_arch_raise(v, vector);

	if (r > 0)
		v->backoff_ns = BACKOFF_MIN_NS;
	else
		atomic_fetch_add(&v->msi_blocked, 1);
	return r;
}

static void op_lower(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	apf_arch_lower(ctx, vector);
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
	int err;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	if (mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != apf_arch_halted)
		return -EAGAIN;
	if (mp.mp_state == apf_arch_halted) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
			return -errno;
	}
	if (v->doing == HALTED)
		apf_doing_step(v, RUNS);
	v->backoff_ns = BACKOFF_MIN_NS;
	err = apf_arch_inject(v, token);
	if (!err)
		apf_doing_step(v, NOTIFIED);
	return err;
}

const struct apf_engine_ops apf_link_ops = {
	.read32 = op_read32,
	.write32 = op_write32,
	.is_ram = op_is_ram,
	.raise = op_raise,
	.inject = op_inject,
	.lower = op_lower,
};

/*
 * The page was asked for before this, so that it is on its way; it may come at any moment.
 * The pager marks a page resident before it tells the vCPUs. So either it finds what the
 * engine has noted, or the second look finds the page.
 */
void apf_link_fault(struct apf_kvm_vcpu *v, struct ram_page page, struct apf_fault *f,
		    struct apf_decision *d)
{
	struct gfn gfn = apf_page_gfn(v->k, page);
	int r;

	f->gfn = gfn.nr;
	pthread_mutex_lock(&v->lock);
	apf_vcpu_fault(v->engine, f, d);
	atomic_store(&v->noted, true);
	if (d->verdict == APF_INJECT) {
		if (!apf_arch_inject(v, d->token)) {
			apf_doing_step(v, NOTIFIED);
		} else {
			apf_link_act(v, apf_vcpu_undo(v->engine, d->token));
			d->verdict = APF_WAIT;
		}
	}
	r = apf_page_want(v->k, page);
	if (r == -EAGAIN)	/* it has come and was given back: the access is tried again */
		r = 1;
	if (r)
		apf_link_act(v, apf_link_page_over(v, gfn, r));
	else
		count_outstanding(v);
	pthread_mutex_unlock(&v->lock);
}
