/* SPDX-License-Identifier: MIT */
/* Fetching: once per page, together where contiguous, within limits, told in the right order. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	8192u

static bool is_right(const struct apf_mem *m, uint64_t n)
{
	return touch_page((char *)apf_mem_view_a(m) + n * page_size, n, NULL) == TOUCH_OK;
}

static void test_C2_a_page_is_fetched_once_however_often_it_is_wanted(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);

	fake.hold = true;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(want(m, 42), 0);
	fake_wait_running(1);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(want(m, 42), 0);
	fake_release();
	results_wait(&r, 1);
	assert_int_equal(want(m, 42), 1);
	sleep_ms(20);
	assert_int_equal(fake.reads[42], 1);
	assert_int_equal(r.n, 1);		/* and told once */
	assert_int_equal(stats(m).fetched, 1);
	apf_mem_destroy(m);
}

static void test_contiguous_pages_are_read_together_up_to_the_batch_size(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .batch_pages = 16,
	};
	struct results r;
	struct apf_mem *m = ram_with(cfg, NULL, &r);

	pager_stop_in(m);
	for (uint64_t n = 100; n < 140; n += 2)		/* in any order */
		assert_int_equal(want(m, n), 0);
	for (uint64_t n = 139; n >= 100; n -= 2)
		assert_int_equal(want(m, n), 0);
	assert_int_equal(want(m, 500), 0);
	pager_go();
	results_wait(&r, 41);
	assert_int_equal(fake.requests, 4);		/* 16 + 16 + 8, and 1 */
	assert_int_equal(fake.biggest, 16);
	for (uint64_t n = 100; n < 140; n++)
		assert_true(is_right(m, n));
	assert_true(is_right(m, 500));
	assert_int_equal(stats(m).reads, 4);
	apf_mem_destroy(m);
}

static struct apf_mem *c15_mem;
static atomic_uint c15_seen, c15_invisible, c15_not_resident;

/* Reads A as the kernel would: a page that is not mapped there is EFAULT, not a hang. */
static void look_into_a(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint64_t at = d[i].page / SMALL;
		char page[page_size];
		struct iovec to = { page, page_size };
		struct iovec from = { (char *)apf_mem_view_a(c15_mem) + at * page_size, page_size };

		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != page_size ||
		    !fake_is_page(page, at))
			c15_invisible++;
		c15_not_resident += !apf_mem_resident(c15_mem, d[i].page);
	}
	c15_seen += n;
}

static void test_C15_done_is_called_after_the_page_is_visible_in_A(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .done = look_into_a,
	};

	c15_seen = c15_invisible = c15_not_resident = 0;
	c15_mem = ram_with(cfg, NULL, NULL);
	for (uint64_t n = 0; n < PAGES; n += CHUNK)	/* markers, so that nothing blocks */
		assert_int_equal(touch_page((char *)apf_mem_view_a(c15_mem) + n * page_size, n,
					    NULL), TOUCH_TRAPPED);
	for (uint64_t n = 0; n < 2000; n++)
		assert_int_equal(want(c15_mem, n), 0);
	for (int i = 0; i < 20000 && c15_seen < 2000 * SMALL; i++)
		sleep_ms(1);
	assert_int_equal(c15_seen, 2000 * SMALL);
	assert_int_equal(c15_invisible, 0);
	assert_int_equal(c15_not_resident, 0);
	apf_mem_destroy(c15_mem);
}

static void test_done_comes_in_batches(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);

	fake.hold = true;
	for (uint64_t n = 0; n < 1000; n += 2)
		assert_int_equal(want(m, n), 0);
	fake_wait_running(500);
	fake_release();
	results_wait(&r, 500);
	assert_true(r.calls <= 5 + 500 * SMALL / 1024);
	assert_int_equal(stats(m).in_flight, 0);
	assert_int_equal(stats(m).max_in_flight, 500);
	apf_mem_destroy(m);
}

static void test_a_full_queue_says_EAGAIN_and_loses_nothing(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, 2 * PAGES, APF_TRAP_POISON, &r);
	unsigned int queued = 0, full = 0;

	pager_stop_in(m);
	for (uint64_t n = 0; n < 2 * PAGES; n++) {
		int err = want(m, n);

		assert_true(err == 0 || err == -EAGAIN);
		queued += !err;
		full += err == -EAGAIN;
	}
	assert_true(full > 0);
	assert_true(queued >= 4096);
	assert_int_equal(want(m, 0), 0);	/* what is queued is on its way */
	pager_go();
	results_wait(&r, queued);
	for (uint64_t n = 0; n < 2 * PAGES; n++)
		while (want(m, n) == -EAGAIN)
			sleep_ms(1);
	results_wait(&r, 2 * PAGES);
	for (uint64_t n = 0; n < 2 * PAGES; n++) {
		assert_int_equal(fake.reads[n], 1);
		assert_true(is_right(m, n));
	}
	apf_mem_destroy(m);
}

static void test_no_more_reads_at_once_than_max_fetches(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_BLOCK,
		.max_fetches = 8, .batch_pages = 1,
	};
	struct results r;
	struct apf_mem *m = ram_with(cfg, NULL, &r);

	fake.hold = true;
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(want(m, n), 0);
	fake_wait_running(8);
	sleep_ms(30);
	assert_int_equal(fake.running, 8);
	fake_release();
	results_wait(&r, 100);
	assert_int_equal(fake.most_running, 8);
	apf_mem_destroy(m);
}

static int all_zero(uint64_t page, unsigned int attempt)
{
	return page % 2 ? APF_IO_ZERO : 0;
}

static void test_zero_pages_need_no_data(void **state)
{
	static const enum apf_trap traps[] = { APF_TRAP_BLOCK, APF_TRAP_POISON };

	for (int i = 0; i < 2; i++) {
		struct results r;
		struct apf_mem *m;
		char *a, *b;

		fake_reset(NULL);
		fake.result = all_zero;
		m = ram_on(NULL, PAGES, traps[i], &r);
		a = apf_mem_view_a(m);
		b = apf_mem_view_b(m);
		for (uint64_t n = 1; n < 200; n += 2)
			assert_int_equal(need(m, n, 1), 0);
		assert_int_equal(need(m, 200, 1), 0);
		for (uint64_t n = 1; n < 200; n += 2) {
			assert_int_equal(touch_page(a + n * page_size, n, NULL), TOUCH_ZERO);
			assert_int_equal(touch_page(b + n * page_size, n, NULL), TOUCH_ZERO);
		}
		assert_int_equal(touch_page(b + 501 * page_size, 501, NULL), TOUCH_ZERO);
		assert_int_equal(stats(m).zero, 101);
		assert_int_equal(stats(m).fetched, 102);
		apf_mem_destroy(m);
	}
}

static void test_need_waits_for_a_range(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, 2 * PAGES, APF_TRAP_POISON, &r);

	assert_int_equal(need(m, 3, 12000), 0);	/* more than the queue holds */
	for (uint64_t n = 3; n < 12003; n++)
		assert_true(resident(m, n));
	assert_false(resident(m, 2));
	assert_false(resident(m, 12003));
	assert_int_equal(stats(m).fetched, 12000);
	assert_int_equal(need(m, 3, 0), 0);
	assert_int_equal(need(m, 2 * PAGES, 0), 0);
	assert_int_equal(need(m, 2 * PAGES, 1), -ERANGE);
	assert_int_equal(apf_mem_need(m, 1, UINT64_MAX), -ERANGE);
	assert_int_equal(want(m, 2 * PAGES), -ERANGE);
	apf_mem_destroy(m);
}

/* Want n pages that are not neighbours; the largest number of threads seen until all came. */
static unsigned int threads_with(const char *spec, unsigned int n)
{
	struct results r;
	struct apf_mem *m = ram_on(spec, PAGES, APF_TRAP_POISON, &r);
	unsigned int most = 0;

	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(want(m, i * 31), 0);
	while (atomic_load(&r.n) < n) {
		DIR *d = opendir("/proc/self/task");
		unsigned int tasks = 0;

		while (readdir(d))
			tasks++;
		closedir(d);
		most = tasks - 2 > most ? tasks - 2 : most;
	}
	assert_int_equal(r.lost, 0);
	if (strstr(spec, "latency"))
		assert_int_equal(stats(m).max_in_flight, n);
	apf_mem_destroy(m);
	return most;
}

static void test_V3_threads_do_not_grow_with_outstanding_reads(void **state)
{
	static const char *const dirs[] = { ".", "/dev/shm" };
	static const char *const filters[] = { "", "latency:200ms," };

	for (int i = 0; i < 4; i++) {
		char path[64], spec[100];
		int fd = fake_file(dirs[i / 2], path, PAGES);
		unsigned int few, many;

		snprintf(spec, sizeof(spec), "%sfile:%s", filters[i % 2], path);
		few = threads_with(spec, 16);
		many = threads_with(spec, 256);
		print_message("# %s: at most %u threads with 16 outstanding, %u with 256\n",
			      spec, few, many);
		assert_true(many <= few || many <= 2 + 4);	/* 4: the ring's worker limit */
		if (i % 2)
			assert_int_equal(many, few);
		close(fd);
		unlink(path);
	}
}

static void test_256_slow_reads_overlap(void **state)
{
	char path[64], spec[100];
	int fd = fake_file("/dev/shm", path, PAGES);
	struct results r;
	struct apf_mem *m;
	uint64_t before;

	snprintf(spec, sizeof(spec), "latency:50ms,file:%s", path);
	m = ram_on(spec, PAGES, APF_TRAP_POISON, &r);
	before = now_ns();
	for (uint64_t i = 0; i < 256; i++)
		assert_int_equal(want(m, i * 31), 0);
	results_wait(&r, 256);
	assert_true(now_ns() - before >= 49 * MS);
	assert_true(now_ns() - before < 1000 * MS);	/* one after the other: 12.8 s */
	for (uint64_t i = 0; i < 256; i++)
		assert_true(is_right(m, i * 31));
	apf_mem_destroy(m);
	close(fd);
	unlink(path);
}

static void test_destroy_does_not_wait_for_what_is_outstanding(void **state)
{
	char path[64], spec[100];
	int fd = fake_file("/dev/shm", path, PAGES);
	struct results r;
	struct apf_mem *m;
	uint64_t before;

	snprintf(spec, sizeof(spec), "latency:60s,file:%s", path);
	m = ram_on(spec, PAGES, APF_TRAP_POISON, &r);
	for (uint64_t i = 0; i < 256; i++)
		assert_int_equal(want(m, i * 31), 0);
	sleep_ms(10);
	before = now_ns();
	apf_mem_destroy(m);
	assert_true(now_ns() - before < 2000 * MS);
	assert_int_equal(r.n, 0);
	close(fd);
	unlink(path);
}

static struct {
	atomic_bool entered, left;
} slow;

static void slow_done(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	atomic_store(&slow.entered, true);
	sleep_ms(50);
	atomic_store(&slow.left, true);
}

static void test_done_has_ended_when_it_has_changed_hands(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .done = slow_done,
	};
	struct apf_mem *m = ram_with(cfg, NULL, NULL);

	assert_int_equal(want(m, 1), 0);
	while (!atomic_load(&slow.entered))
		sleep_ms(1);
	apf_mem_set_done(m, NULL, NULL);
	assert_true(atomic_load(&slow.left));
	apf_mem_destroy(m);
}

/* Whoever installs a function may free what the old one worked on. */
static void test_done_changes_hands_while_pages_come(void **state)
{
	struct results first, second = { 0 };
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &first);
	unsigned int before;

	for (uint64_t n = 0; n < 200; n++)
		assert_int_equal(want(m, n), 0);
	apf_mem_set_done(m, results_done, &second);
	before = atomic_load(&first.n);
	for (uint64_t n = 200; n < 300; n++)
		assert_int_equal(want(m, n), 0);
	results_wait(&second, 300 - before);
	assert_int_equal(first.n, before);
	apf_mem_set_done(m, NULL, NULL);
	assert_int_equal(need(m, 300, 10), 0);
	assert_int_equal(second.n, 300 - before);
	apf_mem_destroy(m);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_C2_a_page_is_fetched_once_however_often_it_is_wanted),
		TEST(test_contiguous_pages_are_read_together_up_to_the_batch_size),
		TEST(test_C15_done_is_called_after_the_page_is_visible_in_A),
		TEST(test_done_comes_in_batches),
		TEST(test_a_full_queue_says_EAGAIN_and_loses_nothing),
		TEST(test_no_more_reads_at_once_than_max_fetches),
		TEST(test_zero_pages_need_no_data),
		TEST(test_need_waits_for_a_range),
		TEST(test_V3_threads_do_not_grow_with_outstanding_reads),
		TEST(test_256_slow_reads_overlap),
		TEST(test_destroy_does_not_wait_for_what_is_outstanding),
		TEST(test_done_has_ended_when_it_has_changed_hands),
		TEST(test_done_changes_hands_while_pages_come),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
