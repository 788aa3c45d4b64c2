/* SPDX-License-Identifier: MIT */
/* The loop's timers: a binary heap by deadline that knows each timer's place. */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "store/timers.h"

/*
 * Arming cannot fail, so room for every timer is reserved beforehand: address
 * space only, memory comes with use. The pager has one per page in flight, which
 * its limits keep far below this.
 */
#define MAX_TIMERS	(4u << 20)

int apf_timers_init(struct apf_timers *t)
{
	void *p = mmap(NULL, MAX_TIMERS * sizeof(*t->heap), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	t->heap = p;
	t->n = 0;
	return 0;
}

void apf_timers_fini(struct apf_timers *t)
{
	munmap(t->heap, MAX_TIMERS * sizeof(*t->heap));
}

static void put(struct apf_timers *t, uint32_t i, struct apf_timer *timer)
{
	t->heap[i] = timer;
	timer->slot = i + 1;
}

static void sift_up(struct apf_timers *t, uint32_t i, struct apf_timer *timer)
{
	while (i) {
		uint32_t parent = (i - 1) / 2;

		if (t->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		put(t, i, t->heap[parent]);
		i = parent;
	}
	put(t, i, timer);
}

static void sift_down(struct apf_timers *t, uint32_t i, struct apf_timer *timer)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= t->n)
			break;
		if (child + 1 < t->n &&
		    t->heap[child + 1]->deadline_ns < t->heap[child]->deadline_ns)
			child++;
		if (timer->deadline_ns <= t->heap[child]->deadline_ns)
			break;
		put(t, i, t->heap[child]);
		i = child;
	}
	put(t, i, timer);
}

void apf_timers_add(struct apf_timers *t, struct apf_timer *timer)
{
	assert(t->n < MAX_TIMERS);
	sift_up(t, t->n++, timer);
}

void apf_timers_remove(struct apf_timers *t, struct apf_timer *timer)
{
	uint32_t i = timer->slot - 1;
	struct apf_timer *last = t->heap[--t->n];

	timer->slot = 0;
	if (last == timer)
		return;
	/* The last one takes the hole's place and may belong above or below it. */
	if (i && t->heap[(i - 1) / 2]->deadline_ns > last->deadline_ns)
		sift_up(t, i, last);
	else
		sift_down(t, i, last);
}
