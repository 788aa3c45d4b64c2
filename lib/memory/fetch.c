/* SPDX-License-Identifier: MIT */
/*
 * The fetch scheduler: merges what is wanted into reads, repeats those that fail,
 * and hands out the results in batches. Runs on the pager's thread only.
 *
 * A page in flight is in exactly one fetch, and there are as many fetches as pages
 * may be in flight, so that a failed read of many pages can always be taken apart.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>

#include "memory/memory.h"
#include "trace/trace.h"

#define MAX_POOL	(1u << 20)
#define MAX_DOUBLINGS	16u	/* of the back-off: eleven minutes from 10 ms */

static void list_init(struct fetch_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void append(struct fetch_list *l, struct fetch *f)
{
	f->next = NULL;
	*l->last = f;
	l->last = &f->next;
}

static struct fetch *take_first(struct fetch_list *l)
{
	struct fetch *f = l->first;

	l->first = f->next;
	if (!l->first)
		l->last = &l->first;
	return f;
}

int apf_fetch_open(struct apf_mem *m)
{
	struct fetcher *p = &m->fetcher;
	uint64_t size = (uint64_t)m->cfg.max_fetches * m->cfg.batch_pages;
	void *pool;

	list_init(&p->ready);
	list_init(&p->finished);
	if (m->cfg.trap == APF_TRAP_NONE)
		return 0;
	if (size > MAX_POOL)
		return apf_error_set(-EINVAL, "max_fetches * batch_pages is above %u", MAX_POOL);
	pool = mmap(NULL, size * sizeof(*p->pool), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool == MAP_FAILED)
		return apf_error_set(-ENOMEM, "no address space for fetches");
	p->pool = pool;
	p->pool_size = (uint32_t)size;
	return 0;
}

void apf_fetch_close(struct apf_mem *m)
{
	if (m->fetcher.pool)
		munmap(m->fetcher.pool, m->fetcher.pool_size * sizeof(struct fetch));
}

static struct fetch *get(struct apf_mem *m, uint64_t page, uint32_t n)
{
	struct fetcher *p = &m->fetcher;
	struct fetch *f = p->free;

	if (f)
		p->free = f->next;
	else
		f = &p->pool[p->pool_used++];
	f->mem = m;
	f->page = page;
	f->n = n;
	f->tries = 0;
	return f;
}

static void put(struct fetcher *p, struct fetch *f)
{
	f->next = p->free;
	p->free = f;
}

static void add_in_flight(struct apf_mem *m, int n)
{
	struct counters *c = &m->count;
	uint32_t now = atomic_load_explicit(&c->in_flight, memory_order_relaxed) + (uint32_t)n;

	atomic_store_explicit(&c->in_flight, now, memory_order_relaxed);
	if (now > atomic_load_explicit(&c->max_in_flight, memory_order_relaxed))
		atomic_store_explicit(&c->max_in_flight, now, memory_order_relaxed);
}

/* How many more pages this turn can take. */
uint32_t apf_fetch_room(const struct apf_mem *m)
{
	const struct fetcher *p = &m->fetcher;
	uint32_t pages = p->pool_size -
			 atomic_load_explicit(&m->count.in_flight, memory_order_relaxed);

	return pages < TURN_PAGES - p->n_wanted ? pages : TURN_PAGES - p->n_wanted;
}

/* The page has been claimed by somebody: fetch it. Needs room. */
void apf_fetch_want(struct apf_mem *m, uint64_t page)
{
	m->fetcher.wanted[m->fetcher.n_wanted++] = page;
	add_in_flight(m, 1);
}

/* Results: the owner of the memory is told in batches. */
static void flush(struct apf_mem *m)
{
	struct fetcher *p = &m->fetcher;

	if (!p->n_batch)
		return;
	if (m->cfg.done)
		m->cfg.done(m->cfg.ctx, p->batch, p->n_batch);
	p->n_batch = 0;
	apf_map_wake_waiters(m);
}

static void report(struct apf_mem *m, uint64_t page, int res)
{
	struct fetcher *p = &m->fetcher;

	APF_TRACE(completed, APF_EV_COMPLETED, APF_TRACE_NO_VCPU, small_of(m, page), 0,
		  res < 0 ? (uint64_t)res : (uintptr_t)m->a + page_offset(m, page));
	add_in_flight(m, -1);
	for (uint64_t small = small_of(m, page); small < small_of(m, page + 1); small++) {
		p->batch[p->n_batch++] = (struct apf_mem_done){ .page = small, .res = res };
		if (p->n_batch == BATCH_PAGES)
			flush(m);
	}
}

static void arrived(struct apf_mem *m, struct fetch *f)
{
	count(&m->count.fetched, f->n);
	if (f->res == APF_IO_ZERO)
		count(&m->count.zero, f->n);
	for (uint64_t page = f->page; page < f->page + f->n; page++) {
		bool b_waits = atomic_load(&m->map[page]) & PAGE_B_WAITS;

		apf_map_set(m, page, PAGE_RESIDENT);
		if (b_waits)
			apf_trap_release_b(m, page);
		report(m, page, 0);
	}
	put(&m->fetcher, f);
}

/* "latency,file": as in the specification, without arguments. */
static void print_chain(const struct apf_store *s, char *buf, size_t size)
{
	size_t n = 0;

	for (*buf = '\0'; s && n < size; s = s->below)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? "," : "", s->ops->name);
}

/* Before the store fails another read: what it says may stand in the same place. */
static void describe_loss(struct apf_mem *m, const struct fetch *f, int err)
{
	char chain[96];

	print_chain(m->cfg.store, chain, sizeof(chain));
	pthread_mutex_lock(&m->lock);
	snprintf(m->lost_text, sizeof(m->lost_text), "page %" PRIu64 " (byte 0x%" PRIx64
		 " of RAM) is lost after %" PRIu32 " tries: store %s: %s", small_of(m, f->page),
		 page_offset(m, f->page), f->tries + 1, chain,
		 f->io.error ? f->io.error : strerror(-err));
	pthread_mutex_unlock(&m->lock);
}

static bool last_try(const struct apf_mem *m, const struct fetch *f)
{
	return f->n == 1 && f->tries == m->cfg.retries;
}

static void lost(struct apf_mem *m, struct fetch *f)
{
	apf_map_set(m, f->page, PAGE_LOST);
	apf_trap_poison(m, f->page);
	count(&m->count.failed, 1);
	report(m, f->page, f->res);
	put(&m->fetcher, f);
}

uint64_t apf_fetch_backoff(const struct apf_mem *m, uint32_t tries)
{
	uint32_t doublings = tries - 1 < MAX_DOUBLINGS ? tries - 1 : MAX_DOUBLINGS;

	return m->cfg.retry_ns << doublings;
}

/* What has come is not read again. */
static void retry_due(struct apf_timer *t)
{
	struct fetch *f = apf_container_of(t, struct fetch, io.timer);
	struct fetcher *p = &f->mem->fetcher;

	append(f->res < 0 ? &p->ready : &p->finished, f);
}

static void retry_later(struct apf_mem *m, struct fetch *f)
{
	f->tries++;
	count(&m->count.retries, 1);
	f->io.timer = (struct apf_timer){ .fn = retry_due };
	apf_loop_timer_arm(m->loop, &f->io.timer,
			   apf_loop_now(m->loop) + apf_fetch_backoff(m, f->tries));
}

/* What was read so far must neither stay nor stand where a later try finds a zero page. */
static void forget(struct apf_mem *m, const struct fetch *f)
{
	apf_ram_punch(m, f->page, f->n);
}

static bool any_zero(const struct apf_mem *m, const struct fetch *f)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (apf_map_zero(m, f->page + i))
			return true;
	return false;
}

/*
 * Some of these pages were discarded while the store read them: whatever has come of it, they
 * are zero, the others are not. The others stand in the list for themselves then.
 */
static void drop_discarded(struct apf_mem *m, struct fetch *f)
{
	for (uint32_t i = 1; i < f->n; i++) {
		struct fetch *other = get(m, f->page + i, 1);

		other->res = f->res;
		other->tries = f->tries;
		other->io.error = f->io.error;
		append(&m->fetcher.finished, other);
	}
	f->n = 1;
	if (apf_map_zero(m, f->page)) {
		forget(m, f);
		f->res = APF_IO_ZERO;
	}
}

/* err: of the read, or of placing what it brought. */
static void failed(struct apf_mem *m, struct fetch *f, int err)
{
	uint32_t n = f->n;

	if (last_try(m, f)) {
		f->res = err;
		lost(m, f);
		return;
	}
	/* One bad page must not take its neighbours along: from now on each for itself. */
	f->n = 1;
	for (uint32_t i = 1; i < n; i++) {
		struct fetch *other = get(m, f->page + i, 1);

		other->res = f->res;
		retry_later(m, other);
	}
	retry_later(m, f);
}

/*
 * Make visible what has come, then tell: C15 begins here. The state is set after
 * the page is in A, and done is called after that. Where placing stops half way, the
 * guest may have written to the first half: it is placed again, never read again.
 */
void apf_fetch_finish(struct apf_mem *m)
{
	struct fetcher *p = &m->fetcher;

	while (p->finished.first) {
		struct fetch *f = take_first(&p->finished);
		int r;

		if (f->res != APF_IO_ZERO && any_zero(m, f))
			drop_discarded(m, f);
		r = f->res;
		if (r < 0) {
			forget(m, f);
		} else {
			r = apf_trap_place(m, f->page, f->n, r == APF_IO_ZERO);
			f->io.error = "the page has come but cannot be mapped";
			if (r < 0 && last_try(m, f))
				describe_loss(m, f, r);
		}
		if (r < 0)
			failed(m, f, r);
		else
			arrived(m, f);
	}
	flush(m);
}

static void read_done(struct apf_io *io, int res)
{
	struct fetch *f = apf_container_of(io, struct fetch, io);

	f->res = res;
	if (res < 0 && last_try(f->mem, f) && !any_zero(f->mem, f))
		describe_loss(f->mem, f, res);
	f->mem->fetcher.reading--;
	append(&f->mem->fetcher.finished, f);
}

static void submit(struct apf_mem *m, struct fetch *f)
{
	uint64_t offset = page_offset(m, f->page);

	memset(&f->io, 0, sizeof(f->io));
	f->io.offset = offset;
	f->io.len = f->n << m->page_shift;
	f->io.buf = m->c + offset;
	f->io.done = read_done;
	m->fetcher.reading++;
	count(&m->count.reads, 1);
	APF_TRACE(fetch, APF_EV_FETCH, APF_TRACE_NO_VCPU, small_of(m, f->page), 0,
		  small_of(m, f->n));
	m->cfg.store->ops->submit(m->cfg.store, &f->io);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* This turn's pages, as reads of contiguous ones; those that are known to be zero have come. */
static void merge(struct apf_mem *m)
{
	struct fetcher *p = &m->fetcher;
	uint32_t i = 0, n;
	struct fetch *f;

	if (p->n_wanted > 1)
		qsort(p->wanted, p->n_wanted, sizeof(p->wanted[0]), by_number);
	for (; i < p->n_wanted; i += n) {
		bool zero = apf_map_zero(m, p->wanted[i]);

		for (n = 1; n < m->cfg.batch_pages && i + n < p->n_wanted &&
			    p->wanted[i + n] == p->wanted[i] + n &&
			    apf_map_zero(m, p->wanted[i + n]) == zero; n++)
			;
		f = get(m, p->wanted[i], n);
		f->res = zero ? APF_IO_ZERO : 0;
		append(zero ? &p->finished : &p->ready, f);
	}
	p->n_wanted = 0;
}

/* Take what is wanted and start reading. True: there is more than one turn takes. */
bool apf_fetch_start(struct apf_mem *m)
{
	struct fetcher *p = &m->fetcher;
	uint64_t page;

	while (apf_fetch_room(m) && apf_want_take(m, &page))
		apf_fetch_want(m, page);
	merge(m);
	while (p->ready.first && p->reading < m->cfg.max_fetches)
		submit(m, take_first(&p->ready));
	return p->finished.first || (apf_fetch_room(m) && (m->events || apf_want_pending(m)));
}
