/* SPDX-License-Identifier: MIT */
/* Stores that fail: retries and recovery, pages lost for good, files that shrink. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	2048u
#define BAD	70u

static struct apf_mem *quick_ram(const char *spec, enum apf_trap trap, struct results *r)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = trap, .retries = 3, .retry_ns = MS,
	};

	return ram_with(cfg, spec, r);
}

static void *in(void *view, uint64_t n)
{
	return (char *)view + n * page_size;
}

static int two_fail(uint64_t page, unsigned int attempt)
{
	return attempt <= 2 ? -EIO : 0;
}

static void test_a_page_that_fails_twice_comes_at_the_third_try(void **state)
{
	struct results r;
	struct apf_mem *m;

	fake.result = two_fail;
	fake.scribble = true;
	m = quick_ram(NULL, APF_TRAP_POISON, &r);
	assert_int_equal(need(m, 5, 1), 0);
	assert_int_equal(fake.reads[5], 3);
	assert_int_equal(touch_page(in(apf_mem_view_a(m), 5), 5, NULL), TOUCH_OK);
	assert_int_equal(stats(m).retries, 2);
	assert_int_equal(stats(m).failed, 0);
	assert_string_equal(apf_mem_lost_text(m), "");
	assert_int_equal(r.n, 1);
	apf_mem_destroy(m);
}

static void test_the_back_off_doubles(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retries = 3,
		.retry_ns = 10 * MS,
	};
	struct results r;
	struct apf_mem *m;
	uint64_t before;

	fake.result = two_fail;
	m = ram_with(cfg, NULL, &r);
	before = now_ns();
	assert_int_equal(need(m, 5, 1), 0);
	assert_true(now_ns() - before >= 29 * MS);	/* 10 + 20 */
	apf_mem_destroy(m);
}

static int one_bad(uint64_t page, unsigned int attempt)
{
	return page == BAD ? -EREMOTEIO : 0;
}

static void test_N10_a_lost_page_fails_its_readers_and_nobody_hangs(void **state)
{
	static const enum apf_trap traps[] = { APF_TRAP_BLOCK, APF_TRAP_POISON };

	for (int i = 0; i < 2; i++) {
		struct toucher blocked;
		struct results r;
		struct apf_mem *m;
		char text[64];

		fake_reset(NULL);
		fake.result = one_bad;
		fake.scribble = true;
		m = quick_ram(NULL, traps[i], &r);
		fake.hold = true;
		toucher_start(&blocked, in(apf_mem_view_b(m), BAD), BAD);
		fake_wait_running(1);
		fake_release();
		results_wait(&r, 1);
		assert_int_equal(r.last_page, BAD);
		assert_int_equal(r.last_res, -EREMOTEIO);
		assert_int_equal(toucher_result(&blocked), TOUCH_TRAPPED);
		for (int again = 0; again < 2; again++) {
			assert_int_equal(touch_page(in(apf_mem_view_a(m), BAD), BAD, NULL),
					 TOUCH_TRAPPED);
			assert_int_equal(touch_page(in(apf_mem_view_b(m), BAD), BAD, NULL),
					 TOUCH_TRAPPED);
		}
		assert_int_equal(want(m, BAD), -EIO);
		assert_int_equal(need(m, BAD - 2, 5), -EIO);
		assert_false(resident(m, BAD));
		assert_int_equal(fake.reads[BAD], 4);	/* once and three retries */
		assert_int_equal(stats(m).failed, 1);
		snprintf(text, sizeof(text), "page %u (byte 0x%x ", BAD * SMALL, BAD * page_size);
		assert_non_null(strstr(apf_mem_lost_text(m), text));
		assert_non_null(strstr(apf_mem_lost_text(m), "after 4 tries"));
		assert_non_null(strstr(apf_mem_lost_text(m), "store fake: Remote I/O error"));
		apf_mem_destroy(m);
	}
}

static void test_a_vcpu_that_blocks_in_A_is_let_go_when_its_page_is_lost(void **state)
{
	struct toucher blocked;
	struct results r;
	struct apf_mem *m;

	fake.result = one_bad;
	m = quick_ram(NULL, APF_TRAP_BLOCK, &r);
	fake.hold = true;
	toucher_start(&blocked, in(apf_mem_view_a(m), BAD), BAD);
	fake_wait_running(1);
	assert_true(toucher_blocks(&blocked));
	fake_release();
	assert_int_equal(toucher_result(&blocked), TOUCH_TRAPPED);
	apf_mem_destroy(m);
}

static void test_one_bad_page_does_not_take_its_neighbours_along(void **state)
{
	struct results r;
	struct apf_mem *m;

	fake.result = one_bad;
	fake.scribble = true;
	m = quick_ram(NULL, APF_TRAP_POISON, &r);
	pager_stop_in(m);
	for (uint64_t n = 64; n < 80; n++)
		assert_int_equal(want(m, n), 0);
	pager_go();
	results_wait(&r, 16);
	assert_int_equal(fake.biggest, 16);	/* they were read together */
	assert_int_equal(r.lost, 1);
	for (uint64_t n = 64; n < 80; n++)
		assert_int_equal(touch_page(in(apf_mem_view_a(m), n), n, NULL),
				 n == BAD ? TOUCH_TRAPPED : TOUCH_OK);
	apf_mem_destroy(m);
}

static int zero_after_junk(uint64_t page, unsigned int attempt)
{
	return attempt == 1 ? -EIO : APF_IO_ZERO;
}

static void test_a_zero_page_is_zero_even_after_a_try_that_left_junk(void **state)
{
	struct results r;
	struct apf_mem *m;

	fake.result = zero_after_junk;
	m = quick_ram(NULL, APF_TRAP_POISON, &r);
	pager_stop_in(m);
	fake.scribble = true;
	for (uint64_t n = 64; n < 72; n++)
		assert_int_equal(want(m, n), 0);
	fake.hold = true;
	pager_go();
	fake_wait_running(1);
	fake.scribble = false;		/* the retries write nothing */
	fake_release();
	results_wait(&r, 8);
	for (uint64_t n = 64; n < 72; n++) {
		assert_int_equal(touch_page(in(apf_mem_view_a(m), n), n, NULL), TOUCH_ZERO);
		assert_int_equal(touch_page(in(apf_mem_view_b(m), n), n, NULL), TOUCH_ZERO);
	}
	apf_mem_destroy(m);
}

static void test_the_error_filter_recovers_through_retries(void **state)
{
	static const char *const filters[] = { "error:first=2", "error:rate=0.02:seed=7" };

	for (int i = 0; i < 2; i++) {
		struct apf_mem_config cfg = {
			.size = PAGES * page_size, .trap = APF_TRAP_BLOCK, .retry_ns = MS / 10,
			.retries = 20,
		};
		char path[64], spec[100];
		int fd = fake_file(".", path, PAGES);
		struct results r;
		struct apf_mem *m;

		snprintf(spec, sizeof(spec), "%s,file:%s", filters[i], path);
		m = ram_with(cfg, spec, &r);
		assert_int_equal(need(m, 0, PAGES), 0);
		for (uint64_t n = 0; n < PAGES; n++)
			assert_int_equal(touch_page(in(apf_mem_view_a(m), n), n, NULL), TOUCH_OK);
		assert_true(stats(m).retries > 100);
		assert_int_equal(r.lost, 0);
		apf_mem_destroy(m);
		close(fd);
		unlink(path);
	}
}

static void test_a_file_that_shrinks_loses_pages_and_says_which_and_why(void **state)
{
	static const char *const dirs[] = { ".", "/dev/shm" };

	for (int i = 0; i < 2; i++) {
		char path[64], spec[100], text[100];
		int fd = fake_file(dirs[i], path, PAGES);
		struct results r;
		struct apf_mem *m;

		snprintf(spec, sizeof(spec), "stats,file:%s", path);
		m = quick_ram(spec, APF_TRAP_POISON, &r);
		assert_int_equal(need(m, 0, 10), 0);
		assert_int_equal(ftruncate(fd, 1000 * page_size + 17), 0);
		assert_int_equal(need(m, 1000, 1), -EIO);
		snprintf(text, sizeof(text), "page %u (", 1000 * SMALL);
		assert_non_null(strstr(apf_mem_lost_text(m), text));
		assert_non_null(strstr(apf_mem_lost_text(m), "store stats,file: "));
		snprintf(text, sizeof(text), "ends at byte %u, page %u needs %u",
			 1000 * page_size + 17, 1000 * SMALL, 1000 * page_size + APF_PAGE_SIZE);
		assert_non_null(strstr(apf_mem_lost_text(m), text));
		assert_non_null(strstr(apf_mem_lost_text(m), path));
		assert_int_equal(touch_page(in(apf_mem_view_a(m), 1000), 1000, NULL),
				 TOUCH_TRAPPED);
		assert_int_equal(need(m, 999, 1), 0);
		assert_int_equal(touch_page(in(apf_mem_view_a(m), 999), 999, NULL), TOUCH_OK);
		apf_mem_destroy(m);
		close(fd);
		unlink(path);
	}
}

static int all_bad(uint64_t page, unsigned int attempt)
{
	return -EIO;
}

static void test_every_page_lost_at_the_smallest_pool(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retries = 2,
		.retry_ns = MS / 100, .max_fetches = 1, .batch_pages = 16,
	};
	struct results r;
	struct apf_mem *m;

	fake.result = all_bad;
	m = ram_with(cfg, NULL, &r);
	for (uint64_t n = 0; n < PAGES; n++)
		assert_int_equal(want(m, n), 0);
	results_wait(&r, PAGES);
	assert_int_equal(r.lost, PAGES);
	assert_int_equal(fake.most_running, 1);
	apf_mem_destroy(m);
}

static void test_a_lost_page_has_its_own_reason_whatever_fails_beside_it(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retries = 1,
		.retry_ns = 50 * MS,
	};
	struct results r;
	struct apf_mem *m;

	fake.result = all_bad;
	fake.explains = true;
	m = ram_with(cfg, NULL, &r);
	assert_int_equal(want(m, 5), 0);
	for (int i = 0; i < 5000 && !stats(m).retries; i++)
		sleep_ms(1);
	fake.hold = true;			/* 5 has one try left, 9 has two */
	assert_int_equal(want(m, 9), 0);
	fake_wait_running(2);
	fake_release();				/* 5 ends, then 9, before the pager looks */
	results_wait(&r, 1);
	assert_int_equal(r.last_page, 5);
	assert_non_null(strstr(apf_mem_lost_text(m), "number 5 is bad"));
	apf_mem_destroy(m);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_page_that_fails_twice_comes_at_the_third_try),
		TEST(test_the_back_off_doubles),
		TEST(test_N10_a_lost_page_fails_its_readers_and_nobody_hangs),
		TEST(test_a_vcpu_that_blocks_in_A_is_let_go_when_its_page_is_lost),
		TEST(test_one_bad_page_does_not_take_its_neighbours_along),
		TEST(test_a_zero_page_is_zero_even_after_a_try_that_left_junk),
		TEST(test_the_error_filter_recovers_through_retries),
		TEST(test_a_file_that_shrinks_loses_pages_and_says_which_and_why),
		TEST(test_every_page_lost_at_the_smallest_pool),
		TEST(test_a_lost_page_has_its_own_reason_whatever_fails_beside_it),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
