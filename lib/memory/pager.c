/* SPDX-License-Identifier: MIT */
/* The pager: the one thread that fetches, and the calls other threads send it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>

#include "memory/memory.h"

struct after {
	struct apf_loop_call call;
	struct apf_timer timer;
	struct apf_mem *mem;
	uint64_t deadline_ns;
	void (*fn)(void *arg);
	void *arg;
	struct after *next, **prev;	/* all that the pager knows and has not called */
};

static bool pager_turn(void *ctx)
{
	struct apf_mem *m = ctx;

	apf_fetch_finish(m);
	apf_trap_events(m);
	return apf_fetch_start(m);
}

/* With no room the next turn comes when a fetch ends: do not stay awake for the queue. */
static bool pager_pending(void *ctx)
{
	struct apf_mem *m = ctx;

	return apf_want_pending(m) && apf_fetch_room(m);
}

static int pager_set_up(struct apf_mem *m)
{
	const struct apf_loop_hooks hooks = {
		.turn = pager_turn, .pending = pager_pending, .ctx = m,
	};
	int r = apf_loop_create(&hooks, &m->loop);

	if (r < 0)
		return r;
	r = m->cfg.store ? apf_store_start(m->cfg.store, m->loop) : 0;
	if (r < 0) {
		apf_loop_destroy(m->loop);
		return r;
	}
	apf_trap_start(m);
	return 0;
}

static void *pager_main(void *arg)
{
	struct apf_mem *m = arg;
	int r = pager_set_up(m);

	m->start_result = r;
	if (r < 0)
		snprintf(m->start_error, sizeof(m->start_error), "%s", apf_error());
	sem_post(&m->started);
	if (!r)
		apf_loop_run(m->loop);
	return NULL;
}

int apf_pager_start(struct apf_mem *m)
{
	sigset_t all, old;
	int r;

	sem_init(&m->started, 0, 0);
	/* Signals are for the embedding program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&m->thread, NULL, pager_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		sem_destroy(&m->started);
		return apf_error_set(-r, "cannot start the pager's thread: %s", strerror(r));
	}
	pthread_setname_np(m->thread, "apf-pager");
	while (sem_wait(&m->started) && errno == EINTR)
		;
	sem_destroy(&m->started);
	if (m->start_result < 0) {
		pthread_join(m->thread, NULL);
		return apf_error_set(m->start_result, "%s", m->start_error);
	}
	return 0;
}

void apf_pager_stop(struct apf_mem *m)
{
	apf_loop_stop(m->loop);
	pthread_join(m->thread, NULL);
	while (m->afters) {
		struct after *a = m->afters;

		m->afters = a->next;
		free(a);
	}
	if (m->cfg.store)
		apf_store_close(m->cfg.store);
	apf_loop_destroy(m->loop);
}

struct job {
	struct apf_loop_call call;
	void (*fn)(void *arg);
	void *arg;
	sem_t ended;
};

static void do_job(struct apf_loop_call *c)
{
	struct job *j = apf_container_of(c, struct job, call);

	j->fn(j->arg);
	sem_post(&j->ended);
}

void apf_pager_do(struct apf_mem *m, void (*fn)(void *arg), void *arg)
{
	struct job j = { .call.fn = do_job, .fn = fn, .arg = arg };

	sem_init(&j.ended, 0, 0);
	apf_loop_post(m->loop, &j.call);
	while (sem_wait(&j.ended) && errno == EINTR)
		;
	sem_destroy(&j.ended);
}

struct set_done {
	struct apf_mem *mem;
	void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n);
	void *ctx;
};

static void change_done(void *arg)
{
	struct set_done *s = arg;

	s->mem->cfg.done = s->done;
	s->mem->cfg.ctx = s->ctx;
}

/* Between two turns of the pager, the only one that looks at it. */
void apf_mem_set_done(struct apf_mem *m,
		      void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n),
		      void *ctx)
{
	struct set_done s = { .mem = m, .done = done, .ctx = ctx };

	apf_pager_do(m, change_done, &s);
}

static void after_due(struct apf_timer *t)
{
	struct after *a = apf_container_of(t, struct after, timer);

	*a->prev = a->next;
	if (a->next)
		a->next->prev = a->prev;
	a->fn(a->arg);
	free(a);
}

static void after_posted(struct apf_loop_call *c)
{
	struct after *a = apf_container_of(c, struct after, call);
	struct apf_mem *m = a->mem;

	a->next = m->afters;
	a->prev = &m->afters;
	if (a->next)
		a->next->prev = &a->next;
	m->afters = a;
	a->timer.fn = after_due;
	apf_loop_timer_arm(m->loop, &a->timer, a->deadline_ns);
}

int apf_mem_after(struct apf_mem *m, uint64_t ns, void (*fn)(void *arg), void *arg)
{
	struct after *a = calloc(1, sizeof(*a));

	if (!a)
		return apf_error_set(-EAGAIN, "no memory for a later call");
	a->mem = m;
	a->deadline_ns = ns ? apf_clock_ns() + ns : 0;
	a->fn = fn;
	a->arg = arg;
	a->call.fn = after_posted;
	apf_loop_post(m->loop, &a->call);
	return 0;
}
