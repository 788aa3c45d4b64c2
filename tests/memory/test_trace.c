/* SPDX-License-Identifier: MIT */
/* The pager's events (V1): what the store was asked for, and what became of each page. */
#include <errno.h>
#include <stdlib.h>

#include <apf/trace.h>
#include <trace/trace_ring.h>

#include "fake.h"

#define PAGES 64u

/* The next event of this kind from *at on; fails where there is none. */
static const struct apf_trace_record *next(const struct apf_trace_record *rec, uint64_t n, uint64_t *at,
					   enum apf_event event)
{
	for (; *at < n; ++*at)
		if (rec[*at].event == event)
			return &rec[(*at)++];
	fail_msg("no more events \"%s\"", apf_trace_name(event));
	return NULL;
}

static unsigned int count(const struct apf_trace_record *rec, uint64_t n, enum apf_event event)
{
	unsigned int sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += rec[i].event == event;
	return sum;
}

static int page_41_is_lost(uint64_t page, unsigned int attempt)
{
	return page == 41 ? -EIO : 0;
}

static void test_V1_fetch_and_completed_name_the_page_its_read_and_its_place(void **state)
{
	struct apf_mem_config cfg = { .size = PAGES * page_size, .trap = APF_TRAP_BLOCK };
	struct apf_trace_record *rec = NULL;
	const struct apf_trace_record *ev;
	struct results r;
	struct apf_mem *m = ram_with(cfg, NULL, &r);
	uint64_t n, lost, at = 0;

	assert_int_equal(apf_trace_start(1024), 0);
	pager_stop_in(m);
	for (uint64_t page = 7; page < 10; page++)
		assert_int_equal(want(m, page), 0);
	pager_go();
	results_wait(&r, 3);
	n = apf_trace_take(&rec, &lost);
	assert_int_equal(count(rec, n, APF_EV_FETCH), 1);
	ev = next(rec, n, &at, APF_EV_FETCH);
	assert_int_equal(ev->gfn, 7 * SMALL);
	assert_int_equal(ev->arg, 3 * SMALL);
	assert_int_equal(ev->vcpu, APF_TRACE_NO_VCPU);
	for (uint64_t page = 7; page < 10; page++) {
		ev = next(rec, n, &at, APF_EV_COMPLETED);
		assert_int_equal(ev->gfn, page * SMALL);
		assert_ptr_equal(ev->arg, (char *)apf_mem_view_a(m) + page * page_size);
		assert_int_equal(ev->vcpu, APF_TRACE_NO_VCPU);
	}
	assert_int_equal(count(rec, n, APF_EV_COMPLETED), 3);
	free(rec);
	apf_mem_destroy(m);
}

static void test_V1_completed_of_a_lost_page_has_its_error_and_each_try_is_a_fetch(void **state)
{
	struct apf_mem_config cfg = { .size = PAGES * page_size, .trap = APF_TRAP_BLOCK, .retries = 1,
				      .retry_ns = 1 };
	struct apf_trace_record *rec = NULL;
	const struct apf_trace_record *ev;
	struct results r;
	struct apf_mem *m;
	uint64_t n, lost, at = 0;

	fake.result = page_41_is_lost;
	m = ram_with(cfg, NULL, &r);
	assert_int_equal(apf_trace_start(1024), 0);
	assert_int_equal(want(m, 41), 0);
	results_wait(&r, 1);
	n = apf_trace_take(&rec, &lost);
	assert_int_equal(count(rec, n, APF_EV_FETCH), 2);
	ev = next(rec, n, &at, APF_EV_COMPLETED);
	assert_int_equal(ev->gfn, 41 * SMALL);
	assert_int_equal(ev->arg, (uint64_t)-EIO);
	free(rec);
	apf_mem_destroy(m);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_V1_fetch_and_completed_name_the_page_its_read_and_its_place),
		TEST(test_V1_completed_of_a_lost_page_has_its_error_and_each_try_is_a_fetch),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests_name("memory/trace", tests, NULL, NULL);
}
