/* SPDX-License-Identifier: MIT */
/* A known working set is fetched in one go. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fake.h"
#include "touch.h"

#define PAGES 4096u

static void test_C2_preload_fetches_just_the_listed_pages_once_and_all_at_once(void **state)
{
	const struct apf_mem_range ranges[] = {
		{ 3 * SMALL, 2 * SMALL }, { 100 * SMALL, SMALL }, { 4000 * SMALL, 96 * SMALL },
	};
	struct results r;
	struct apf_mem *m = ram_on("latency:20ms,fake", PAGES, APF_TRAP_POISON, &r);
	uint64_t start = now_ns();
	char page[page_size];

	assert_int_equal(apf_mem_preload(m, ranges, 3), 0);
	assert_true(now_ns() - start < 99 * 20 * MS / 2);
	for (uint64_t i = 0; i < PAGES; i++) {
		bool listed = (i >= 3 && i < 5) || i == 100 || i >= 4000;

		assert_int_equal(resident(m, i), listed);
		assert_int_equal(fake.reads[i], listed);
	}
	assert_int_equal(apf_mem_read(m, 4095ull * page_size, page, page_size), 0);
	assert_true(fake_is_page(page, 4095));
	assert_int_equal(stats(m).fetched, 99);
	assert_int_equal(stats(m).max_in_flight, 0);
	apf_mem_destroy(m);
}

static void test_preload_refuses_ranges_outside_RAM_and_fetches_nothing(void **state)
{
	const struct apf_mem_range bad[][2] = {
		{ { 1, 1 }, { PAGES * SMALL, 1 } },
		{ { 1, 1 }, { PAGES * SMALL - 1, 2 } },
		{ { 1, 1 }, { 2, UINT64_MAX } },
	};
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(apf_mem_preload(m, bad[i], 2), -ERANGE);
		assert_non_null(strstr(apf_error(), "not inside RAM"));
	}
	assert_int_equal(fake.requests, 0);
	apf_mem_destroy(m);
}

static int lose_seven(uint64_t page, unsigned int attempt)
{
	return page == 7 ? -EIO : 0;
}

static void test_N10_preload_says_which_page_is_lost(void **state)
{
	const struct apf_mem_range range = { 0, 16 * SMALL };
	struct apf_mem_config cfg = { .size = PAGES * page_size, .trap = APF_TRAP_POISON,
				      .retries = 1, .retry_ns = 1000 };
	struct results r;
	struct apf_mem *m;
	char text[64];

	fake.result = lose_seven;
	m = ram_with(cfg, NULL, &r);
	assert_int_equal(apf_mem_preload(m, &range, 1), -EIO);
	snprintf(text, sizeof(text), "page %u ", 7 * SMALL);
	assert_non_null(strstr(apf_error(), text));
	apf_mem_destroy(m);
}

static void test_poison_what_is_missing_beside_preloaded_pages_has_its_marker(void **state)
{
	const struct apf_mem_range ranges[] = { { 3 * SMALL, 1 }, { 4000 * SMALL, 96 * SMALL } };
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);

	assert_int_equal(apf_mem_preload(m, ranges, 2), 0);
	assert_true(stats(m).armed >= 2);
	assert_int_equal(touch_page(a + 3ull * page_size, 3, NULL), TOUCH_OK);
	assert_int_equal(touch_page(a + 4ull * page_size, 4, NULL), TOUCH_TRAPPED);
	assert_int_equal(touch_page(a + 3999ull * page_size, 3999, NULL), TOUCH_TRAPPED);
	assert_int_equal(stats(m).blocked, 0);
	apf_mem_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			test_C2_preload_fetches_just_the_listed_pages_once_and_all_at_once, fake_reset),
		cmocka_unit_test_setup(
			test_preload_refuses_ranges_outside_RAM_and_fetches_nothing, fake_reset),
		cmocka_unit_test_setup(
			test_poison_what_is_missing_beside_preloaded_pages_has_its_marker, fake_reset),
		cmocka_unit_test_setup(test_N10_preload_says_which_page_is_lost, fake_reset),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
