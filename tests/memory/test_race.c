/* SPDX-License-Identifier: MIT */
/*
 * Everybody at once: threads that trap in A as vCPUs do, ask ahead, block in B,
 * in all orders, with arming in between, on thousands of pages. Every
 * byte is looked at and every page fetched once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define RAM_BYTES	(32u << 20)
#define PAGES		(RAM_BYTES / page_size)
#define THREADS		6u

struct shared {
	struct apf_mem *mem;
	char *a, *b;
	enum apf_trap trap;
	atomic_uint told[RAM_BYTES / APF_PAGE_SIZE];	/* by done, each page */
	atomic_uint traps, wrong, lost;
};

struct worker {
	struct shared *s;
	pthread_t thread;
	unsigned int order;		/* in which it visits the pages */
	unsigned int seed;
};

static void done(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	struct shared *s = ctx;

	for (unsigned int i = 0; i < n; i++) {
		atomic_fetch_add(&s->told[d[i].page / SMALL], 1);
		if (d[i].res)
			atomic_fetch_add(&s->lost, 1);
	}
}

/* What a vCPU does: trap, ask, go on when told. */
static void visit_a(struct shared *s, uint64_t n)
{
	enum touch t;

	while ((t = touch_page(s->a + n * page_size, n, NULL)) == TOUCH_TRAPPED) {
		atomic_fetch_add(&s->traps, 1);
		while (want(s->mem, n) == -EAGAIN)
			sched_yield();
		while (!resident(s->mem, n))
			sched_yield();
	}
	if (t != TOUCH_OK)
		atomic_fetch_add(&s->wrong, 1);
}

static void visit_b(struct shared *s, uint64_t n)
{
	if (touch_page(s->b + n * page_size, n, NULL) != TOUCH_OK)
		atomic_fetch_add(&s->wrong, 1);
}

static void visit_c(struct shared *s, uint64_t n)
{
	char page[page_size];
	int r = apf_mem_read(s->mem, n * page_size, page, page_size);

	if (r ? r != -EFAULT : !fake_is_page(page, n))
		atomic_fetch_add(&s->wrong, 1);
}

/* All pages in an order of one's own: by chance, upwards, downwards. */
static uint64_t nth(struct worker *w, uint64_t i, const uint64_t *shuffled)
{
	switch (w->order) {
	case 0:
		return i;
	case 1:
		return PAGES - 1 - i;
	default:
		return shuffled[i];
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t *shuffled = malloc(PAGES * sizeof(*shuffled));

	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t j = (uint64_t)rand_r(&w->seed) % (i + 1);

		shuffled[i] = shuffled[j];
		shuffled[j] = i;
	}
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t n = nth(w, i, shuffled);

		switch (rand_r(&w->seed) / 64 % 8) {
		case 0:
			visit_b(w->s, n);
			break;
		case 1:
			while (want(w->s->mem, n) == -EAGAIN)
				sched_yield();
			visit_c(w->s, n);
			break;
		default:
			visit_a(w->s, n);
		}
	}
	free(shuffled);
	return NULL;
}

static void run_all(enum apf_trap trap, const char *spec, bool fails)
{
	static struct shared s;
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = trap, .done = done, .ctx = &s,
		.retries = 30, .retry_ns = MS / 50,
	};
	struct worker w[THREADS];
	struct apf_mem_stats st;

	memset(&s, 0, sizeof(s));
	s.trap = trap;
	s.mem = ram_with(cfg, spec, NULL);
	s.a = apf_mem_view_a(s.mem);
	s.b = apf_mem_view_b(s.mem);
	for (unsigned int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .s = &s, .order = i, .seed = i * 77 + 1 };
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	for (uint64_t n = 0; n < PAGES; n++) {
		visit_a(&s, n);
		visit_b(&s, n);
		assert_int_equal(s.told[n], SMALL);
		if (!spec)
			assert_int_equal(fake.reads[n], 1);
	}
	st = stats(s.mem);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(s.lost, 0);
	assert_int_equal(st.fetched, PAGES);
	assert_int_equal(st.in_flight, 0);
	assert_true(fails ? st.retries > 0 : !st.retries);
	print_message("# %u traps, %lu blocked, %lu reads, %lu chunks armed, %lu retries\n",
		      s.traps, st.blocked, st.reads, st.armed, st.retries);
	apf_mem_destroy(s.mem);
}

static void test_C2_races_with_poison(void **state)
{
	for (int i = 0; i < 5; i++) {
		fake_reset(NULL);
		run_all(APF_TRAP_POISON, NULL, false);
	}
}

static void test_C2_races_with_block(void **state)
{
	for (int i = 0; i < 5; i++) {
		fake_reset(NULL);
		run_all(APF_TRAP_BLOCK, NULL, false);
	}
}

static int sparse(uint64_t page, unsigned int attempt)
{
	return attempt < 2 && page % 5 == 0 ? -EIO : 0;
}

static void test_races_with_a_store_that_fails(void **state)
{
	static struct shared s;
	struct apf_mem *m;
	struct results r;
	struct worker w[THREADS];

	fake.result = sparse;
	fake.scribble = true;
	m = ram_with((struct apf_mem_config){ .size = PAGES * page_size,
		.trap = APF_TRAP_POISON, .retry_ns = MS / 50 }, NULL, &r);
	s = (struct shared){ .mem = m, .a = apf_mem_view_a(m), .b = apf_mem_view_b(m) };
	for (unsigned int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .s = &s, .order = i, .seed = i * 99 + 5 };
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	results_wait(&r, PAGES);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(r.lost, 0);
	assert_int_equal(r.n, PAGES);
	apf_mem_destroy(m);
}

static void test_races_on_files(void **state)
{
	static const char *const dirs[] = { ".", "/dev/shm" };

	for (int i = 0; i < 4; i++) {
		char path[64], spec[160];
		int fd = fake_file(dirs[i / 2], path, PAGES);

		snprintf(spec, sizeof(spec), "%sfile:%s",
			 i % 2 ? "latency:10us-900us,error:rate=0.05," : "", path);
		run_all(APF_TRAP_POISON, spec, i % 2);
		run_all(APF_TRAP_BLOCK, spec, i % 2);
		close(fd);
		unlink(path);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_C2_races_with_poison),
		TEST(test_C2_races_with_block),
		TEST(test_races_with_a_store_that_fails),
		TEST(test_races_on_files),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
