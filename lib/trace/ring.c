/* SPDX-License-Identifier: MIT */
/*
 * The ring behind the tracepoints. Writers claim a slot with one atomic add and
 * never wait; the oldest records are overwritten. A record's seq is written
 * last, so that the reader can tell a finished record from a torn one.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <apf/error.h>

#include "trace.h"
#include "trace_ring.h"

atomic_bool apf_trace_on;

static struct apf_trace_record *ring;
static uint32_t ring_mask;
static _Atomic uint64_t ring_head;

static const char *const names[APF_EV_COUNT] = {
	[APF_EV_FAULT] = "fault",
	[APF_EV_NP] = "np",
	[APF_EV_READY] = "ready",
	[APF_EV_REPEAT] = "repeat",
	[APF_EV_COMPLETED] = "completed",
	[APF_EV_QUEUE_FULL] = "queue_full",
	[APF_EV_BROADCAST] = "broadcast",
	[APF_EV_HALT_END] = "halt_end",
	[APF_EV_FETCH] = "fetch",
	[APF_EV_CONTROL] = "control",
	[APF_EV_RESET] = "reset",
};

const char *apf_trace_name(enum apf_event ev)
{
	return ev < APF_EV_COUNT ? names[ev] : "unknown";
}

int apf_trace_start(uint32_t records)
{
	uint32_t n = 1024;

	if (ring)
		return apf_error_set(-EBUSY, "trace: recording already");
	while (n < records && n < 1u << 30)
		n <<= 1;
	ring = calloc(n, sizeof(*ring));
	if (!ring)
		return apf_error_set(-ENOMEM, "trace: no memory for %u records", n);
	ring_mask = n - 1;
	atomic_store(&ring_head, 0);
	atomic_store(&apf_trace_on, true);
	return 0;
}

void apf_trace_record(enum apf_event ev, uint32_t vcpu, uint64_t gfn, uint32_t token, uint64_t arg)
{
	uint64_t pos = atomic_fetch_add_explicit(&ring_head, 1, memory_order_relaxed);
	struct apf_trace_record *r = &ring[pos & ring_mask];
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	r->ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	r->gfn = gfn;
	r->arg = arg;
	r->vcpu = vcpu;
	r->token = token;
	r->event = ev;
	__atomic_store_n(&r->seq, (uint32_t)pos + 1, __ATOMIC_RELEASE);
}

uint64_t apf_trace_take(struct apf_trace_record **out, uint64_t *lost)
{
	uint64_t head, n = 0, first;

	atomic_store(&apf_trace_on, false);
	if (!ring)
		return 0;
	head = atomic_load(&ring_head);
	first = head > (uint64_t)ring_mask + 1 ? head - ring_mask - 1 : 0;
	*out = calloc(head - first + 1, sizeof(**out));
	for (uint64_t i = first; *out && i < head; i++) {
		struct apf_trace_record *r = &ring[i & ring_mask];

		if (__atomic_load_n(&r->seq, __ATOMIC_ACQUIRE) == (uint32_t)i + 1)
			(*out)[n++] = *r;
	}
	*lost = head - n;
	free(ring);
	ring = NULL;
	return n;
}
