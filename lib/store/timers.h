/* SPDX-License-Identifier: MIT */
/* The loop's timers: a binary heap by deadline that knows each timer's place. */
#ifndef STORE_TIMERS_H
#define STORE_TIMERS_H

#include <apf/store.h>

struct apf_timers {
	struct apf_timer **heap;	/* heap[0] is due first; reserved, filled by use */
	uint32_t n;
};

int apf_timers_init(struct apf_timers *t);
void apf_timers_fini(struct apf_timers *t);
void apf_timers_add(struct apf_timers *t, struct apf_timer *timer);
void apf_timers_remove(struct apf_timers *t, struct apf_timer *timer);

#endif
