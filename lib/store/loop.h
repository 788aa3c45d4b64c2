/* SPDX-License-Identifier: MIT */
/*
 * Making and running the event loop of include/apf/store.h. Whoever owns it (the
 * pager) gives it a thread and hooks into its turns:
 *
 *	collect completions -> posted calls -> due timers -> owner's turn -> submit and sleep
 *
 * The last step is one system call, however much was queued.
 */
#ifndef STORE_LOOP_H
#define STORE_LOOP_H

#include <stddef.h>

#include <apf/store.h>

/* Callbacks get the timer, op or call they belong to; this finds what it is part of. */
#define apf_container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

struct apf_loop_hooks {
	/* The owner's work, once per turn. True: there is more, do not sleep before the next. */
	bool (*turn)(void *ctx);
	/*
	 * Asked before going to sleep, when apf_loop_wake is already effective: has
	 * another thread left something for turn()?
	 */
	bool (*pending)(void *ctx);
	void *ctx;
};

struct apf_loop_call {		/* the caller's memory, alive until fn is called */
	void (*fn)(struct apf_loop_call *c);
	struct apf_loop_call *next;
};

/*
 * Make a loop. Must be called on the thread that will run it: the ring belongs
 * to its creator, which spares the kernel its locks. 0 or negative errno + apf_error.
 */
int apf_loop_create(const struct apf_loop_hooks *hooks, struct apf_loop **out);

/*
 * Run until apf_loop_stop. Returns when no read is in flight any more, so that
 * buffers may be freed; timers and polls that are still armed are dropped, posted
 * calls are made.
 */
void apf_loop_run(struct apf_loop *l);

/* After the run, when no thread can post any more. Any thread. */
void apf_loop_destroy(struct apf_loop *l);

/* Any thread: end the run, call c->fn on the loop's thread, make a turn happen soon. */
void apf_loop_stop(struct apf_loop *l);
void apf_loop_post(struct apf_loop *l, struct apf_loop_call *c);
void apf_loop_wake(struct apf_loop *l);

/* CLOCK_MONOTONIC in ns. Any thread. */
uint64_t apf_clock_ns(void);

/* Tell a store and all below it their loop. On the loop's thread. 0 or negative errno. */
int apf_store_start(struct apf_store *s, struct apf_loop *l);

#endif
