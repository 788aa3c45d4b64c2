/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's life: set-up, the decision at a fault, deliveries; control.c has the rest.
 * What differs between the generations of the protocol is behind abi.h.
 */
#include <errno.h>
#include <string.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>
#include <trace/trace.h>

#include "abi.h"

/* A dense set may hold many tokens in a row; a fault's time stays bounded. */
#define TOKEN_TRIES 64

/* INTIDs of private peripheral interrupts. */
#define FIRST_PPI 16
#define LAST_PPI 31

const char *apf_abi_name(uint32_t abi)
{
	const struct apf_abi *a = apf_abi_get(abi);

	return a ? a->name : NULL;
}

static size_t state_size(uint32_t max_outstanding)
{
	size_t size = apf_set_size(max_outstanding);

	if (!size)
		return 0;
	return (sizeof(struct apf_vcpu) - sizeof(struct apf_set) + size + 7) & ~(size_t)7;
}

size_t apf_vcpu_state_size(const struct apf_vcpu *v)
{
	return v->state_size;
}

static struct apf_vcpu_stats *stats_of(const struct apf_vcpu *v)
{
	return (struct apf_vcpu_stats *)((char *)v + v->state_size);
}

size_t apf_vcpu_size(uint32_t max_outstanding)
{
	size_t size = state_size(max_outstanding);

	return size ? (size + sizeof(struct apf_vcpu_stats) + 63) & ~(size_t)63 : 0;
}

int apf_vcpu_init(void *mem, size_t size, const struct apf_vcpu_config *cfg,
		  const struct apf_engine_ops *ops, void *ctx, struct apf_vcpu **out)
{
	const struct apf_abi *abi = apf_abi_get(cfg->abi);
	size_t need = apf_vcpu_size(cfg->max_outstanding);
	struct apf_vcpu *v = mem;

	if (!abi)
		return apf_error_set(-EINVAL, "vCPU %u: unknown ABI %d", cfg->vcpu_id, cfg->abi);
	if (cfg->vcpu_id >> abi->id_bits)
		return apf_error_set(-EINVAL, "vCPU id %u does not fit into a token (%u bits)",
				     cfg->vcpu_id, abi->id_bits);
	if (cfg->ready_irq && (cfg->ready_irq < FIRST_PPI || cfg->ready_irq > LAST_PPI))
		return apf_error_set(-EINVAL, "vCPU %u: INTID %u is not a PPI", cfg->vcpu_id,
				     cfg->ready_irq);
	if (!need)
		return apf_error_set(-EINVAL, "vCPU %u: %u outstanding faults, not 1 to %u",
				     cfg->vcpu_id, cfg->max_outstanding, APF_SET_MAX);
	if ((uintptr_t)mem % 64)
		return apf_error_set(-EINVAL, "vCPU %u: memory not 64-byte aligned", cfg->vcpu_id);
	if (size < need)
		return apf_error_set(-ENOSPC, "vCPU %u: %zu bytes given, %zu needed", cfg->vcpu_id,
				     size, need);
	memset(mem, 0, need);
	v->ops = ops;
	v->ctx = ctx;
	v->abi = cfg->abi;
	v->id = cfg->vcpu_id;
	v->counter = 1;
	v->tokens_per_page = cfg->policy.tokens_per_page;
	v->state_size = (uint32_t)state_size(cfg->max_outstanding);
	v->has_lapic = cfg->has_lapic;
	v->ready_irq = cfg->ready_irq;
	v->never_async = cfg->policy.never_async;
	apf_set_init(&v->set, cfg->max_outstanding, abi->id_bits);
	*out = v;
	return 0;
}

bool apf_vcpu_enabled(const struct apf_vcpu *v)
{
	return abi_of(v)->enabled(v);
}

uint64_t apf_vcpu_area(const struct apf_vcpu *v)
{
	return abi_of(v)->area(v);
}

bool apf_vcpu_owns(const struct apf_vcpu *v, uint32_t token)
{
	uint32_t id_mask = (1u << abi_of(v)->id_bits) - 1;

	return token && token != APF_TOKEN_BROADCAST && (token & id_mask) == v->id;
}

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

/* Enter the page into the set and write the reason word, both or none (C13). */
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
	if (abi_of(v)->np_write(v)) {
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

/*
 * A wake-all wakes every waiter that the guest has been told to put to sleep, so
 * it is the ready of all of them: they leave the set with it (C12).
 */
static void wake_all_sent(struct apf_vcpu *v)
{
	stats_of(v)->broadcasts++;
	APF_TRACE(broadcast, APF_EV_BROADCAST, v->id, 0, APF_TOKEN_BROADCAST, apf_vcpu_area(v));
	v->wake_all = false;
	apf_set_clear(&v->set);
}

static void ready_sent(struct apf_vcpu *v, struct apf_node *n)
{
	stats_of(v)->ready++;
	APF_TRACE(ready, APF_EV_READY, v->id, n->gfn, n->token, apf_vcpu_area(v));
	apf_set_remove(&v->set, n);
}

/*
 * One at a time. A guest that acknowledges asks for the next itself, so what it
 * holds back needs no second look (APF_HELD, APF_SENT); what others hold back does.
 */
static unsigned int deliver(struct apf_vcpu *v, const struct apf_fault *at)
{
	struct apf_node *n = apf_set_first(&v->set, APF_NODE_READY);
	enum apf_sent sent;

	if (v->frozen || (!v->wake_all && !n))
		return 0;
	sent = abi_of(v)->ready(v, v->wake_all ? APF_TOKEN_BROADCAST : n->token, at);
	switch (sent) {
	case APF_HELD:
		return 0;
	case APF_BLOCKED:
		return APF_OUT_LATER;
	case APF_AT_ENTRY:
		return APF_OUT_KICK;
	case APF_SENT:
	case APF_SENT_SILENT:
		break;
	}
	if (v->wake_all)
		wake_all_sent(v);
	else
		ready_sent(v, n);
	return sent == APF_SENT || !v->set.list[APF_NODE_READY].count ? 0 : APF_OUT_LATER;
}

unsigned int apf_vcpu_page_done(struct apf_vcpu *v, uint64_t gfn)
{
	unsigned int out = 0;

	if (v->standing && v->fault_gfn == gfn) {
		v->standing = false;
		out = APF_OUT_WAKE;
		APF_TRACE(halt_end, APF_EV_HALT_END, v->id, gfn, 0, 0);
	}
	apf_set_page_done(&v->set, gfn);
	return out | deliver(v, NULL);
}

/* The tokens join the queue all the same: the wake-all takes them off it (L6). */
unsigned int apf_vcpu_page_failed(struct apf_vcpu *v, uint64_t gfn)
{
	uint32_t token;

	if (abi_of(v)->failed_wakes_all && apf_set_waiting(&v->set, gfn, &token))
		v->wake_all = true;
	return apf_vcpu_page_done(v, gfn);
}

unsigned int apf_vcpu_poll(struct apf_vcpu *v)
{
	return deliver(v, NULL);
}

unsigned int apf_vcpu_enter(struct apf_vcpu *v, const struct apf_fault *at)
{
	return deliver(v, at);
}

void apf_vcpu_freeze(struct apf_vcpu *v, bool frozen)
{
	v->frozen = frozen;
}

void apf_vcpu_for_each(const struct apf_vcpu *v,
		       void (*fn)(void *arg, uint64_t gfn, uint32_t token), void *arg)
{
	const struct apf_node *n = apf_set_first(&v->set, APF_NODE_WAITING);

	for (; n; n = apf_set_next(&v->set, n))
		fn(arg, n->gfn, n->token);
}

uint32_t apf_vcpu_outstanding(const struct apf_vcpu *v)
{
	return v->set.list[APF_NODE_WAITING].count;
}

void apf_vcpu_stats(const struct apf_vcpu *v, struct apf_vcpu_stats *s)
{
	*s = *stats_of(v);
	s->outstanding = apf_vcpu_outstanding(v);
	s->queued = v->set.list[APF_NODE_READY].count + v->wake_all;
}
