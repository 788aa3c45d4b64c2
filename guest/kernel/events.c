/* SPDX-License-Identifier: MIT */
/*
 * The latest notifications with their tokens, as the library's tracepoints tell them,
 * so that a tester can see from outside which ready answers which NP.
 */
#include "kernel.h"

#define EVENTS		4096u
#define ON_A_LINE	128u

static struct event {
	uint32_t token, cpu;
	const char *name;
} events[EVENTS];
static uint32_t written, shown;

static const char *name_of(enum apf_guest_event ev)
{
	switch (ev) {
	case APF_GUEST_EV_NP:
		return " np";
	case APF_GUEST_EV_READY:
		return " ready";
	case APF_GUEST_EV_BROADCAST:
		return " all";
	default:
		return NULL;
	}
}

/* Each CPU calls this with its interrupts off. */
void events_add(enum apf_guest_event ev, uint32_t cpu, uint32_t token)
{
	const char *name = name_of(ev);

	if (name)
		events[__atomic_fetch_add(&written, 1, __ATOMIC_RELAXED) % EVENTS] =
			(struct event){ token, cpu, name };
}

void events_put(void)
{
	uint32_t end = __atomic_load_n(&written, __ATOMIC_ACQUIRE), lost = 0;

	if (end - shown > EVENTS)
		lost = end - shown - EVENTS;
	shown += lost;
	if (end - shown > ON_A_LINE)
		end = shown + ON_A_LINE;
	put_number("@apf events lost=", lost);
	for (; shown != end; shown++) {
		const struct event *e = &events[shown % EVENTS];

		put(e->name);
		put_number("=", e->cpu);
		put_hex(":", e->token);
	}
	put("\n");
}
