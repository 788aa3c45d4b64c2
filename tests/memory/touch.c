/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <string.h>

#include "fake.h"
#include "touch.h"

static _Thread_local sigjmp_buf trapped;
static _Thread_local siginfo_t where;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	where = *info;
	siglongjmp(trapped, 1);
}

void touch_init(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &sa, NULL);
}

enum touch touch_page(const void *page, uint64_t n, siginfo_t *info)
{
	if (sigsetjmp(trapped, 1)) {
		if (info)
			*info = where;
		return TOUCH_TRAPPED;
	}
	if (fake_is_page(page, n))
		return TOUCH_OK;
	return fake_is_zero(page) ? TOUCH_ZERO : TOUCH_WRONG;
}

static void *toucher_main(void *arg)
{
	struct toucher *t = arg;

	t->result = touch_page(t->page, t->n, NULL);
	__atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

void toucher_start(struct toucher *t, const void *page, uint64_t n)
{
	*t = (struct toucher){ .page = page, .n = n };
	pthread_create(&t->thread, NULL, toucher_main, t);
}

bool toucher_blocks(struct toucher *t)
{
	for (int i = 0; i < 100; i++) {
		if (__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE))
			return false;
		sleep_ms(1);
	}
	return true;
}

enum touch toucher_result(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	return t->result;
}
