/* SPDX-License-Identifier: MIT */
/* Which pages are here, and how any thread asks for one (C2: once, however many ask). */
#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include <apf/error.h>

#include "memory/memory.h"

_Static_assert((WANT_SLOTS & (WANT_SLOTS - 1)) == 0, "the tail wraps at 2^32");

/* How long to stand back when the want queue is full: the pager empties it every turn. */
#define QUEUE_FULL_NS	200000

int apf_map_open(struct apf_mem *m)
{
	void *p;

	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	if (m->cfg.trap == APF_TRAP_NONE)
		return 0;
	p = mmap(NULL, m->pages, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		apf_map_close(m);
		return apf_error_set(-ENOMEM, "no memory for the residency map");
	}
	m->map = p;
	return 0;
}

void apf_map_close(struct apf_mem *m)
{
	if (m->map)
		munmap((void *)m->map, m->pages);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
}

uint8_t apf_map_state(const struct apf_mem *m, uint64_t page)
{
	if (!m->map)
		return PAGE_RESIDENT;
	return atomic_load(&m->map[page]) & PAGE_STATE;
}

/* Will it be zero when it comes, without the store? */
bool apf_map_zero(const struct apf_mem *m, uint64_t page)
{
	return m->map && atomic_load(&m->map[page]) & PAGE_ZERO;
}

/* The pager's: replace the byte of a page that is not MISSING. */
void apf_map_set(struct apf_mem *m, uint64_t page, uint8_t byte)
{
	atomic_store(&m->map[page], byte);
}

/* MISSING to WANTED. True: the caller did it and must see that the page is fetched. */
bool apf_map_claim(struct apf_mem *m, uint64_t page)
{
	uint8_t was = atomic_load(&m->map[page]);

	while ((was & PAGE_STATE) == PAGE_MISSING)
		if (atomic_compare_exchange_weak(&m->map[page], &was, was | PAGE_WANTED))
			return true;
	return false;
}

bool apf_map_resident(const struct apf_mem *m, uint64_t page)
{
	return page < m->pages && apf_map_state(m, page) == PAGE_RESIDENT;
}

bool apf_mem_resident(const struct apf_mem *m, uint64_t small)
{
	return apf_map_resident(m, page_of_small(m, small));
}

/*
 * The queue. A slot is promised (used) before the page is claimed: once a page is
 * WANTED its place in the queue is sure, so that nobody who sees it WANTED waits
 * for a request that was never made. At most WANT_SLOTS positions are out at any
 * time, so the slot of a new position has been emptied before.
 */
static bool promise_slot(struct want_queue *q)
{
	if (atomic_fetch_add(&q->used, 1) < WANT_SLOTS)
		return true;
	atomic_fetch_sub(&q->used, 1);
	return false;
}

static void put(struct want_queue *q, uint64_t page)
{
	uint32_t position = atomic_fetch_add(&q->tail, 1);

	atomic_store(&q->slot[position % WANT_SLOTS], page + 1);
}

bool apf_want_pending(const struct apf_mem *m)
{
	return atomic_load(&m->want.slot[m->want.head % WANT_SLOTS]) != 0;
}

bool apf_want_take(struct apf_mem *m, uint64_t *page)
{
	struct want_queue *q = &m->want;
	_Atomic uint64_t *slot = &q->slot[q->head % WANT_SLOTS];
	uint64_t value = atomic_load(slot);

	if (!value)
		return false;
	atomic_store(slot, 0);
	q->head++;
	atomic_fetch_sub(&q->used, 1);
	*page = value - 1;
	return true;
}

static int want(struct apf_mem *m, uint64_t page)
{
	if (page >= m->pages)
		return -ERANGE;
	for (;;) {
		switch (apf_map_state(m, page)) {
		case PAGE_RESIDENT:
			return 1;
		case PAGE_WANTED:
			return 0;
		case PAGE_LOST:
			return -EIO;
		}
		if (!promise_slot(&m->want))
			return -EAGAIN;
		if (apf_map_claim(m, page))
			break;
		atomic_fetch_sub(&m->want.used, 1);
	}
	put(&m->want, page);
	apf_loop_wake(m->loop);
	return 0;
}

/* The sentence for an error of want(). */
static int explain(const struct apf_mem *m, uint64_t small, int err)
{
	if (err == -EIO)
		return apf_error_set(err, "%s", apf_mem_lost_text(m));
	if (err == -EAGAIN)
		return apf_error_set(err, "%u requests for pages wait already", WANT_SLOTS);
	return apf_error_set(err, "page %llu is not inside RAM", (unsigned long long)small);
}

int apf_mem_want(struct apf_mem *m, uint64_t small)
{
	int r = want(m, page_of_small(m, small));

	return r < 0 ? explain(m, small, r) : r;
}

/* The pager's, after pages have changed their state. */
void apf_map_wake_waiters(struct apf_mem *m)
{
	/* Set before the waiter looks at the page, read after the page was set: see wait_for. */
	if (!atomic_load(&m->waiters))
		return;
	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

static void wait_for(struct apf_mem *m, uint64_t page)
{
	pthread_mutex_lock(&m->lock);
	atomic_fetch_add(&m->waiters, 1);
	while (apf_map_state(m, page) == PAGE_WANTED)
		pthread_cond_wait(&m->cond, &m->lock);
	atomic_fetch_sub(&m->waiters, 1);
	pthread_mutex_unlock(&m->lock);
}

/* One behind the last page that n small pages reach into. */
static uint64_t end_page(const struct apf_mem *m, uint64_t small, uint64_t n)
{
	return n ? page_of_small(m, small + n - 1) + 1 : page_of_small(m, small);
}

/* Ask for all of [small, small + n), however full the queue is. 0, -EIO or -ERANGE. */
int apf_map_want_all(struct apf_mem *m, uint64_t small, uint64_t n)
{
	const struct timespec pause = { .tv_nsec = QUEUE_FULL_NS };
	uint64_t end = end_page(m, small, n);
	int r;

	for (uint64_t i = page_of_small(m, small); i < end; i++) {
		while ((r = want(m, i)) == -EAGAIN)
			nanosleep(&pause, NULL);
		if (r < 0)
			return explain(m, small_of(m, i), r);
	}
	return 0;
}

int apf_mem_need(struct apf_mem *m, uint64_t small, uint64_t n)
{
	uint64_t all = small_of(m, m->pages), end;
	int r;

	if (small > all || n > all - small)
		return explain(m, small, -ERANGE);
	if (!m->map)
		return 0;
	r = apf_map_want_all(m, small, n);	/* all on their way before the first wait */
	if (r < 0)
		return r;
	end = end_page(m, small, n);
	for (uint64_t i = page_of_small(m, small); i < end; i++) {
		wait_for(m, i);
		if (apf_map_state(m, i) == PAGE_LOST)
			return explain(m, small_of(m, i), -EIO);
	}
	return 0;
}
