/* SPDX-License-Identifier: MIT */
/* Touching memory that may trap: SIGBUS comes back as a result, in any thread. */
#ifndef TESTS_MEMORY_TOUCH_H
#define TESTS_MEMORY_TOUCH_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum touch {
	TOUCH_OK,		/* the page is what fake_fill made of it */
	TOUCH_ZERO,
	TOUCH_WRONG,		/* neither */
	TOUCH_TRAPPED,		/* SIGBUS; *info says where and why */
};

/* Install the handler: inside each test, because cmocka puts its own in place before it. */
void touch_init(void);
enum touch touch_page(const void *page, uint64_t n, siginfo_t *info);

/* The same in a thread of its own, to see whether it blocks. */
struct toucher {
	pthread_t thread;
	const void *page;
	uint64_t n;
	enum touch result;
	volatile bool ended;
};

void toucher_start(struct toucher *t, const void *page, uint64_t n);
bool toucher_blocks(struct toucher *t);		/* still after 100 ms */
enum touch toucher_result(struct toucher *t);	/* waits for it */

#endif
