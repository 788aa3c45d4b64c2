/* SPDX-License-Identifier: MIT */
/* Pages that have come, and the notifications that follow (C1, C2, C7, C15, N10, L6). */
#include <abi/apf_abi_x86.h>
#include <trace/trace.h>

#include "abi.h"

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
