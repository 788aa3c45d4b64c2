/* SPDX-License-Identifier: MIT */
/*
 * The decision at a fault: tell the guest, halt or wait (C3-C5, C13, C14). What differs
 * between the generations of the protocol is behind abi.h.
 */
#include <trace/trace.h>

#include "abi.h"

/* A dense set may hold many tokens in a row; a fault's time stays bounded. */
#define TOKEN_TRIES 64

/* 0 if none is to be had. The shift drops what has outgrown the counter: it wraps. */
static uint32_t new_token(struct apf_vcpu *v)
{
	uint32_t id_bits = abi_of(v)->id_bits;

	for (int i = 0; i < TOKEN_TRIES; i++) {
		uint32_t token = v->counter << id_bits | v->id;

		v->counter = (v->counter + 1) & (UINT32_MAX >> id_bits);
		if (apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token))
			return token;
	}
	return 0;
}

/* Has this page as many tokens as policy allows (C3)? */
static bool is_repeated(struct apf_vcpu *v, uint64_t gfn)
{
	uint32_t token, count = apf_set_waiting(&v->set, gfn, &token);

	if (!count)
		return false;
	stats_of(v)->repeats++;
	APF_TRACE(repeat, APF_EV_REPEAT, v->id, gfn, token, count);
	return count >= v->tokens_per_page;
}

/* Enter the page into the set and write the area's words, both or none (C13). */
static enum apf_why start_np(struct apf_vcpu *v, uint64_t gfn, uint32_t *token)
{
	struct apf_vcpu_stats *st = stats_of(v);
	struct apf_node *n = NULL;

	*token = new_token(v);
	if (*token)
		n = apf_set_add(&v->set, gfn, *token, APF_NODE_WAITING);
	if (!n) {
		st->full++;
		APF_TRACE(queue_full, APF_EV_QUEUE_FULL, v->id, gfn, 0, v->set.capacity);
		return APF_WHY_FULL;
	}
	if (abi_of(v)->np_write(v, *token)) {
		apf_set_remove(&v->set, n);
		return APF_WHY_AREA;
	}
	st->np++;
	if (apf_vcpu_outstanding(v) > st->max_outstanding)
		st->max_outstanding = apf_vcpu_outstanding(v);
	APF_TRACE(np, APF_EV_NP, v->id, gfn, *token, apf_vcpu_area(v));
	return APF_WHY_ASYNC;
}

/*
 * The order matters: halting serves interrupts, so it comes only after all that
 * forbids to serve any (C4 b).
 *
 * Nothing comes between queueing a wake-all and the guest's handling it: the
 * guest may still know tokens of a host before this one, which the new ones must
 * not meet (C8), and a wake-all that can never go out must not leave sleepers.
 */
static enum apf_why decide(struct apf_vcpu *v, const struct apf_fault *f, uint32_t *token)
{
	enum apf_why why;

	if (f->by_kvm)
		return APF_WHY_KVM;
	if (f->smm)
		return APF_WHY_SMM;
	if (f->nested)
		return APF_WHY_NESTED;
	if (!f->irqs_on)
		return APF_WHY_IRQS_OFF;
	if (f->irq_shadow)
		return APF_WHY_SHADOW;
	if (f->event)
		return APF_WHY_EVENT;
	if (abi_of(v)->unconsumed && abi_of(v)->unconsumed(v))
		return APF_WHY_BUSY;
	if (is_repeated(v, f->gfn))
		return APF_WHY_REPEAT;
	if (v->never_async)
		return APF_WHY_DISABLED;
	why = abi_of(v)->np_gate(v, f);
	if (why == APF_WHY_ASYNC && v->wake_all)
		return APF_WHY_AREA;
	return why == APF_WHY_ASYNC ? start_np(v, f->gfn, token) : why;
}

static enum apf_verdict verdict_of(enum apf_why why)
{
	switch (why) {
	case APF_WHY_ASYNC:
		return APF_INJECT;
	case APF_WHY_DISABLED:
	case APF_WHY_KERNEL:
	case APF_WHY_NOPAGING:
	case APF_WHY_AREA:
	case APF_WHY_REPEAT:
	case APF_WHY_FULL:
		return APF_HALT;
	default:
		return APF_WAIT;
	}
}

void apf_vcpu_fault(struct apf_vcpu *v, const struct apf_fault *f, struct apf_decision *d)
{
	struct apf_vcpu_stats *st = stats_of(v);

	d->token = 0;
	d->why = decide(v, f, &d->token);
	d->verdict = verdict_of(d->why);
	if (d->verdict != APF_INJECT)
		d->token = 0;
	v->fault_gfn = f->gfn;
	v->standing = d->verdict != APF_INJECT;
	st->faults++;
	st->halts += d->verdict == APF_HALT;
	st->waits += d->verdict == APF_WAIT;
	st->why[d->why]++;
	APF_TRACE(fault, APF_EV_FAULT, v->id, f->gfn, d->token,
		  (uint64_t)d->verdict << 8 | d->why);
}

unsigned int apf_vcpu_undo(struct apf_vcpu *v, uint32_t token)
{
	struct apf_node *n = apf_set_find(&v->set, token);
	struct apf_vcpu_stats *st = stats_of(v);

	abi_of(v)->np_undo(v);
	st->np--;
	st->waits++;
	if (!n)
		return APF_OUT_WAKE;
	v->standing = n->state == APF_NODE_WAITING;
	apf_set_remove(&v->set, n);
	return v->standing ? 0 : APF_OUT_WAKE;
}
