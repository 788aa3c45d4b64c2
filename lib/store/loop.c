/* SPDX-License-Identifier: MIT */
/* The event loop: one io_uring, timers, and calls from other threads. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include <apf/error.h>

#include "store/loop.h"
#include "store/timers.h"

#define SQ_ENTRIES	1024u
#define CQ_ENTRIES	8192u
/*
 * File systems that cannot read asynchronously make the kernel use worker threads.
 * Their number must not follow the number of reads in flight (V3).
 */
#define MAX_WORKERS	4u
#define MAX_AWAKE	8u
/* Ops are aligned; the lowest bit of a request's user data marks those that fill no buffer. */
#define NO_BUFFER	1ul

struct apf_loop {
	struct io_uring ring;
	struct apf_loop_hooks hooks;
	struct apf_timers timers;
	uint64_t now;
	uint32_t reads;			/* in flight */
	_Atomic(struct apf_loop_call *) posted;	/* newest first */
	atomic_bool sleeping;		/* nobody has written the eventfd since we went to sleep */
	atomic_bool stop;
	int wake_fd;			/* its counter is never read: every write is an event */
	struct apf_loop_op wake_op;	/* of the poll; its address is all that matters */
	bool listening;			/* the poll is there */
	uint32_t awake;			/* turns in a row without a system call */
};

uint64_t apf_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t apf_loop_now(const struct apf_loop *l)
{
	return l->now;
}

void apf_loop_timer_cancel(struct apf_loop *l, struct apf_timer *t)
{
	if (t->slot)
		apf_timers_remove(&l->timers, t);
}

void apf_loop_timer_arm(struct apf_loop *l, struct apf_timer *t, uint64_t deadline_ns)
{
	apf_loop_timer_cancel(l, t);
	t->deadline_ns = deadline_ns;
	apf_timers_add(&l->timers, t);
}

static struct io_uring_sqe *get_sqe(struct apf_loop *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	if (!sqe) {
		io_uring_submit(&l->ring);
		sqe = io_uring_get_sqe(&l->ring);
	}
	return sqe;
}

int apf_loop_read(struct apf_loop *l, struct apf_loop_op *op, int fd, void *buf, uint32_t len,
		  uint64_t offset)
{
	struct io_uring_sqe *sqe = get_sqe(l);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_read(sqe, fd, buf, len, offset);
	io_uring_sqe_set_data(sqe, op);
	l->reads++;
	return 0;
}

int apf_loop_poll(struct apf_loop *l, struct apf_loop_op *op, int fd, short events)
{
	struct io_uring_sqe *sqe = get_sqe(l);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_add(sqe, fd, (unsigned int)events);
	io_uring_sqe_set_data(sqe, (void *)((uintptr_t)op | NO_BUFFER));
	return 0;
}

/* One poll stays for good: neither reading the eventfd nor polling again costs a call. */
static void listen_for_wakes(struct apf_loop *l)
{
	struct io_uring_sqe *sqe = get_sqe(l);

	if (!sqe)
		return;			/* no room: the next turn tries again */
	io_uring_prep_poll_multishot(sqe, l->wake_fd, POLLIN);
	io_uring_sqe_set_data(sqe, (void *)((uintptr_t)&l->wake_op | NO_BUFFER));
	l->listening = true;
}

static void collect(struct apf_loop *l)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&l->ring, head, cqe) {
		uintptr_t data = (uintptr_t)io_uring_cqe_get_data(cqe);
		struct apf_loop_op *op = (void *)(data & ~NO_BUFFER);

		n++;
		if (op == &l->wake_op) {
			l->listening = cqe->flags & IORING_CQE_F_MORE;
			continue;
		}
		if (!(data & NO_BUFFER))
			l->reads--;
		op->fn(op, cqe->res);
	}
	io_uring_cq_advance(&l->ring, n);
}

static void make_calls(struct apf_loop *l)
{
	struct apf_loop_call *c = atomic_exchange(&l->posted, NULL), *first = NULL, *next;

	for (; c; c = next) {		/* oldest first */
		next = c->next;
		c->next = first;
		first = c;
	}
	for (c = first; c; c = next) {
		next = c->next;
		c->fn(c);
	}
}

static bool timer_is_due(const struct apf_loop *l)
{
	return l->timers.n && l->timers.heap[0]->deadline_ns <= l->now;
}

static void fire_timers(struct apf_loop *l)
{
	while (timer_is_due(l)) {
		struct apf_timer *t = l->timers.heap[0];

		apf_timers_remove(&l->timers, t);
		t->fn(t);
	}
}

static void submit_and_wait(struct apf_loop *l)
{
	struct __kernel_timespec ts = { 0 }, *timeout = NULL;
	struct io_uring_cqe *cqe;

	if (l->timers.n) {
		uint64_t now = apf_clock_ns(), deadline = l->timers.heap[0]->deadline_ns;
		uint64_t ns = deadline > now ? deadline - now : 0;

		ts.tv_sec = (long long)(ns / 1000000000u);
		ts.tv_nsec = (long long)(ns % 1000000000u);
		timeout = &ts;
	}
	/* Whatever it returns (time-out, signal, no memory now): the next turn tries again. */
	io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, timeout, NULL);
}

/*
 * Others look at `sleeping` after they have left their input, we look at the
 * input after we have set it: one of the two sees the other. That needs one order
 * of all four accesses, hence no weaker ordering than the default here.
 */
static void sleep_until_work(struct apf_loop *l)
{
	atomic_store(&l->sleeping, true);
	if (atomic_load(&l->posted) || atomic_load(&l->stop) || l->hooks.pending(l->hooks.ctx))
		io_uring_submit_and_get_events(&l->ring);
	else
		submit_and_wait(l);
	atomic_store(&l->sleeping, false);
}

/*
 * Reads that end at once (holes, memory) leave a timer that is due already: the
 * next turn needs no system call then, but not for ever, for completions only show
 * after one.
 */
static void turn(struct apf_loop *l)
{
	bool more;

	if (!l->listening)
		listen_for_wakes(l);
	collect(l);
	l->now = apf_clock_ns();
	make_calls(l);
	fire_timers(l);
	more = l->hooks.turn(l->hooks.ctx);
	if (timer_is_due(l) && ++l->awake < MAX_AWAKE)
		return;
	l->awake = 0;
	if (more)
		io_uring_submit_and_get_events(&l->ring);
	else
		sleep_until_work(l);
}

void apf_loop_run(struct apf_loop *l)
{
	while (!atomic_exchange(&l->stop, false))
		turn(l);
	make_calls(l);
	/* The kernel still writes to the buffers of reads in flight: they must end first. */
	for (;;) {
		collect(l);
		if (!l->reads)
			return;
		io_uring_submit_and_wait(&l->ring, 1);
	}
}

void apf_loop_wake(struct apf_loop *l)
{
	/* Whoever takes the flag down writes: one system call per sleep, however many post. */
	if (atomic_load(&l->sleeping) && atomic_exchange(&l->sleeping, false))
		eventfd_write(l->wake_fd, 1);
}

void apf_loop_post(struct apf_loop *l, struct apf_loop_call *c)
{
	c->next = atomic_load_explicit(&l->posted, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&l->posted, &c->next, c))
		;
	apf_loop_wake(l);
}

void apf_loop_stop(struct apf_loop *l)
{
	atomic_store(&l->stop, true);
	apf_loop_wake(l);
}

static int ring_init(struct apf_loop *l)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
		.cq_entries = CQ_ENTRIES,
	};
	unsigned int workers[2] = { MAX_WORKERS, MAX_WORKERS };
	int r = io_uring_queue_init_params(SQ_ENTRIES, &l->ring, &p);

	if (r == -EINVAL) {	/* before Linux 6.1: works without, costs a little more */
		p = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE,
					      .cq_entries = CQ_ENTRIES };
		r = io_uring_queue_init_params(SQ_ENTRIES, &l->ring, &p);
	}
	if (r < 0)
		return apf_error_set(r, "io_uring is not available (%s)%s", strerror(-r),
				     r != -EPERM && r != -ENOSYS ? "" :
				     "; is it switched off by sysctl kernel.io_uring_disabled or a "
				     "seccomp filter?");
	r = io_uring_register_iowq_max_workers(&l->ring, workers);
	if (r < 0) {
		io_uring_queue_exit(&l->ring);
		return apf_error_set(r, "cannot limit io_uring's worker threads: %s",
				     strerror(-r));
	}
	return 0;
}

int apf_loop_create(const struct apf_loop_hooks *hooks, struct apf_loop **out)
{
	struct apf_loop *l = calloc(1, sizeof(*l));
	int r = -ENOMEM;

	if (!l)
		return apf_error_set(r, "no memory for the event loop");
	l->hooks = *hooks;
	l->now = apf_clock_ns();
	l->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (l->wake_fd < 0) {
		r = apf_error_set(-errno, "eventfd: %s", strerror(errno));
		goto free_loop;
	}
	r = apf_timers_init(&l->timers);
	if (r < 0) {
		apf_error_set(r, "no address space for timers: %s", strerror(-r));
		goto close_fd;
	}
	r = ring_init(l);
	if (r < 0)
		goto free_timers;
	*out = l;
	return 0;
free_timers:
	apf_timers_fini(&l->timers);
close_fd:
	close(l->wake_fd);
free_loop:
	free(l);
	return r;
}

void apf_loop_destroy(struct apf_loop *l)
{
	io_uring_queue_exit(&l->ring);
	apf_timers_fini(&l->timers);
	close(l->wake_fd);
	free(l);
}
