/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"
#include "store/builtin.h"
#include "touch.h"

struct fake fake;
uint32_t page_size;

static struct {
	pthread_mutex_t lock;
	struct apf_io *held;
	struct apf_loop *loop;
	struct apf_loop_call call;
} own = { .lock = PTHREAD_MUTEX_INITIALIZER };

static sem_t pager_in, pager_out;

void sleep_ms(unsigned int ms)
{
	const struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

uint64_t now_ns(void)
{
	return apf_clock_ns();
}

int want(struct apf_mem *m, uint64_t n)
{
	return apf_mem_want(m, n * SMALL);
}

int need(struct apf_mem *m, uint64_t n, uint64_t count)
{
	return apf_mem_need(m, n * SMALL, count * SMALL);
}

bool resident(const struct apf_mem *m, uint64_t n)
{
	return apf_mem_resident(m, n * SMALL);
}

struct apf_mem_stats stats(const struct apf_mem *m)
{
	struct apf_mem_stats s;

	apf_mem_stats(m, &s);
	assert_int_equal((s.fetched | s.zero | s.failed | s.max_in_flight) % SMALL, 0);
	s.fetched /= SMALL;
	s.zero /= SMALL;
	s.failed /= SMALL;
	s.in_flight /= SMALL;
	s.max_in_flight /= SMALL;
	return s;
}

static uint64_t word(uint64_t page, unsigned int i)
{
	uint64_t seed = page * (page_size / 8) + i;

	return apf_random(&seed) | 1;	/* no word of a page is zero */
}

void fake_fill(void *page, uint64_t n)
{
	uint64_t *p = page;

	for (unsigned int i = 0; i < page_size / 8; i++)
		p[i] = word(n, i);
}

bool fake_is_page(const void *page, uint64_t n)
{
	const uint64_t *p = page;

	for (unsigned int i = 0; i < page_size / 8; i++)
		if (p[i] != word(n, i))
			return false;
	return true;
}

bool fake_is_zero(const void *page)
{
	const uint64_t *p = page;

	for (unsigned int i = 0; i < page_size / 8; i++)
		if (p[i])
			return false;
	return true;
}

static int result_of(uint64_t page)
{
	return fake.result ? fake.result(page, atomic_load(&fake.reads[page])) : 0;
}

static void finish(struct apf_io *io)
{
	uint64_t first = io->offset / page_size, n = io->len / page_size, zeroes = 0;
	int res = 0;

	for (uint64_t i = 0; i < n && res >= 0; i++) {
		res = result_of(first + i);
		zeroes += res == APF_IO_ZERO;
	}
	if (res >= 0)
		res = zeroes == n ? APF_IO_ZERO : 0;
	for (uint64_t i = 0; i < n && !res; i++) {
		char *page = (char *)io->buf + i * page_size;

		if (result_of(first + i) == APF_IO_ZERO)
			memset(page, 0, page_size);
		else
			fake_fill(page, first + i);
	}
	atomic_fetch_sub(&fake.running, 1);
	apf_io_complete_later(own.loop, io, res);
}

static void explain(struct apf_io *io, int res)
{
	static char text[40];

	snprintf(text, sizeof(text), "number %lu is bad", (unsigned long)(io->offset / page_size));
	io->error = text;
	apf_io_complete(io, res);
}

static void fake_submit(struct apf_store *s, struct apf_io *io)
{
	unsigned int running;
	bool hold;

	if (fake.explains)
		apf_io_push(io, explain, NULL, 0);
	for (uint64_t i = 0; i < io->len / page_size; i++)
		atomic_fetch_add(&fake.reads[io->offset / page_size + i], 1);
	atomic_fetch_add(&fake.requests, 1);
	if (io->len / page_size > fake.biggest)
		fake.biggest = io->len / page_size;
	if (fake.scribble)
		memset(io->buf, 0xee, io->len / 2);
	pthread_mutex_lock(&own.lock);
	own.loop = s->loop;
	running = atomic_fetch_add(&fake.running, 1) + 1;	/* from here on it may be released */
	if (running > fake.most_running)
		fake.most_running = running;
	hold = atomic_load(&fake.hold);
	if (hold) {
		io->next = own.held;
		own.held = io;
	}
	pthread_mutex_unlock(&own.lock);
	if (!hold)
		finish(io);
}

static void release_on_loop(struct apf_loop_call *c)
{
	struct apf_io *io, *next;

	pthread_mutex_lock(&own.lock);
	io = own.held;
	own.held = NULL;
	pthread_mutex_unlock(&own.lock);
	for (; io; io = next) {
		next = io->next;
		finish(io);
	}
}

void fake_release(void)
{
	struct apf_loop *loop;

	pthread_mutex_lock(&own.lock);
	atomic_store(&fake.hold, false);
	loop = own.loop;
	pthread_mutex_unlock(&own.lock);
	own.call.fn = release_on_loop;
	apf_loop_post(loop, &own.call);
}

void fake_wait_running(unsigned int n)
{
	for (unsigned int i = 0; atomic_load(&fake.running) < n; i++) {
		if (i == 10000)
			fail_msg("%u reads running, not %u", fake.running, n);
		sleep_ms(1);
	}
}

static int fake_open(struct apf_store *s, const char *arg)
{
	s->size = (fake.pages ? fake.pages : FAKE_PAGES) * page_size;
	return 0;
}

static int fake_copy(struct apf_store *s, int fd, uint64_t offset, uint64_t len)
{
	char page[page_size];

	if (!fake.copies)
		return -EXDEV;
	for (uint64_t at = offset; at < offset + len; at += page_size) {
		fake_fill(page, at / page_size);
		assert_int_equal(pwrite(fd, page, page_size, (off_t)at), page_size);
		atomic_fetch_add(&fake.copied, 1);
	}
	return 0;
}

static void fake_close(struct apf_store *s)
{
}

static const struct apf_store_ops fake_ops = {
	.version = APF_STORE_VERSION, .name = "fake", .open = fake_open, .submit = fake_submit,
	.close = fake_close, .copy = fake_copy,
};

int fake_reset(void **state)
{
	apf_store_register(&fake_ops);	/* EEXIST from the second time on */
	memset(&fake, 0, sizeof(fake));
	own.held = NULL;
	return 0;
}

int fake_file(const char *dir, char *path, uint64_t n)
{
	char page[page_size];
	int fd;

	snprintf(path, 64, "%s/apf-memory-XXXXXX", dir);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	for (uint64_t i = 0; i < n; i++) {
		fake_fill(page, i);
		assert_int_equal(write(fd, page, page_size), page_size);
	}
	fsync(fd);
	return fd;
}

void results_done(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	struct results *r = ctx;

	unsigned int pages = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (d[i].page % SMALL != SMALL - 1)
			continue;
		atomic_store(&r->last_res, d[i].res);
		atomic_store(&r->last_page, d[i].page / SMALL);
		if (d[i].res < 0)
			atomic_fetch_add(&r->lost, 1);
		pages++;
	}
	atomic_fetch_add(&r->calls, 1);
	atomic_fetch_add(&r->n, pages);
}

void results_wait(struct results *r, unsigned int n)
{
	for (unsigned int i = 0; atomic_load(&r->n) < n; i++) {
		if (i == 60000)
			fail_msg("done told of %u pages, not %u", r->n, n);
		sleep_ms(1);
	}
}

bool kernel_lacks_something(void)
{
	const char *wish = getenv("APF_TEST_PAGE_SIZE");
	uint32_t host = (uint32_t)sysconf(_SC_PAGESIZE), wished = wish ? (uint32_t)atoi(wish) : 0;
	struct apf_mem_config cfg = { .trap = APF_TRAP_POISON };
	struct apf_mem *m;

	if (wished && wished <= host) {
		printf("1..0 # SKIP the host's pages have %u bytes themselves\n", host);
		return true;
	}
	page_size = wished ? wished : host;
	cfg.size = page_size;
	fake_reset(NULL);
	if (!apf_store_open("fake", &cfg.store) && !apf_mem_create(&cfg, &m)) {
		apf_mem_destroy(m);
		return false;
	}
	printf("1..0 # SKIP %s\n", apf_error());
	apf_store_close(cfg.store);
	return true;
}

struct apf_mem *ram_with(struct apf_mem_config cfg, const char *spec, struct results *r)
{
	struct apf_mem *m;
	int err;

	touch_init();
	cfg.page_size = page_size;
	if (r)
		memset(r, 0, sizeof(*r));
	if (cfg.trap != APF_TRAP_NONE && apf_store_open(spec ? spec : "fake", &cfg.store))
		fail_msg("%s", apf_error());
	if (!cfg.done && r) {
		cfg.done = results_done;
		cfg.ctx = r;
	}
	err = apf_mem_create(&cfg, &m);
	if (err)
		fail_msg("create: %d, %s", err, apf_error());
	return m;
}

struct apf_mem *ram_on(const char *spec, uint64_t pages, enum apf_trap trap, struct results *r)
{
	return ram_with((struct apf_mem_config){ .size = pages * page_size, .trap = trap },
			spec, r);
}

static void wait_in_pager(void *arg)
{
	sem_post(&pager_in);
	while (sem_wait(&pager_out) && errno == EINTR)
		;
}

void pager_stop_in(struct apf_mem *m)
{
	sem_init(&pager_in, 0, 0);
	sem_init(&pager_out, 0, 0);
	assert_int_equal(apf_mem_after(m, 0, wait_in_pager, NULL), 0);
	while (sem_wait(&pager_in) && errno == EINTR)
		;
}

void pager_go(void)
{
	sem_post(&pager_out);
}
