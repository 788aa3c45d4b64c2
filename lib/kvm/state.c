/* SPDX-License-Identifier: MIT */
/* One vCPU's APF state when it is reset, saved and loaded (C10, C12, C16). */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"

/* What the vCPU is given instead of its state stands at no page. */
static void forget_halt(struct apf_kvm_vcpu *v)
{
	if (v->doing == HALTED)
		apf_doing_step(v, RUNS);
}

void apf_kvm_vcpu_reset(struct apf_kvm_vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	apf_vcpu_reset(v->engine);
	apf_link_act(v, 0);
	pthread_mutex_unlock(&v->lock);
	forget_halt(v);
}

size_t apf_kvm_vcpu_save(struct apf_kvm_vcpu *v, void *buf, size_t size, uint32_t *mp_state)
{
	size_t n = 0;
	int err = 0;

	if (apf_kvm_vcpu_pending(v)) {
		apf_error_set(-EBUSY, "vcpu %u: an access waits for a page", v->id);
		return 0;
	}
	if (apf_run_in_our_halt(v, *mp_state))
		*mp_state = KVM_MP_STATE_RUNNABLE;
	pthread_mutex_lock(&v->lock);
	if (v->k->cfg.delivery == APF_DELIVERY_KERNEL)
		err = v->k->kernel->get(v);
	if (!err)
		n = apf_vcpu_save(v->engine, buf, size);
	if (v->k->cfg.delivery == APF_DELIVERY_KERNEL)
		apf_vcpu_reset(v->engine);	/* there the engine only lends its format */
	pthread_mutex_unlock(&v->lock);
	return n;
}

struct page_list {
	struct gfn *gfn;
	size_t n;
};

static void collect(void *arg, uint64_t gfn, uint32_t token)
{
	struct page_list *l = arg;

	l->gfn[l->n++].nr = gfn;
}

/*
 * C12: every outstanding page is asked for again; each token gets its own ready.
 * Asking is done without the lock, since the pager may want it before it can make
 * room in its queue.
 */
static int ask_again(struct apf_kvm_vcpu *v)
{
	struct page_list l = { .gfn = calloc(v->k->cfg.max_outstanding, sizeof(struct gfn)) };

	if (!l.gfn)
		return apf_error_set(-ENOMEM, "vcpu %u: no memory for its outstanding pages", v->id);
	pthread_mutex_lock(&v->lock);
	apf_vcpu_for_each(v->engine, collect, &l);
	apf_link_poll(v, NULL);
	pthread_mutex_unlock(&v->lock);
	for (size_t i = 0; i < l.n; i++) {
		int r;

		while ((r = apf_page_want(v->k, apf_page_of_gfn(v->k, l.gfn[i]))) == -EAGAIN)
			sched_yield();
		if (!r)
			continue;
		pthread_mutex_lock(&v->lock);
		apf_link_act(v, apf_link_page_over(v, l.gfn[i], r));
		pthread_mutex_unlock(&v->lock);
	}
	free(l.gfn);
	return 0;
}

int apf_kvm_vcpu_load(struct apf_kvm_vcpu *v, const void *buf, size_t size,
		      enum apf_delivery saved_as)
{
	enum apf_delivery now = v->k->cfg.delivery;
	bool whole;
	int err;

	forget_halt(v);
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_load(v->engine, buf, size);
	whole = !err && now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER;
	if (err == -ENOSPC)
		err = 0;
	if (!err && now == APF_DELIVERY_KERNEL) {
		err = v->k->kernel->set(v);	/* KVM sends the wake-all itself */
		apf_vcpu_reset(v->engine);
	} else if (!err && !whole) {
		apf_link_act(v, apf_vcpu_broadcast(v->engine));
	}
	pthread_mutex_unlock(&v->lock);
	return whole ? ask_again(v) : err;
}
