/* SPDX-License-Identifier: MIT */
/*
 * Pages of several host pages, as hosts with bigger ones have: what lies in one comes,
 * is told, is lost and traps together. And placing that the kernel stops half way.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fake.h"
#include "memory/uapi.h"
#include "touch.h"

#define PAGES	256u

/* How __wrap_ioctl treats UFFDIO_CONTINUE on A. */
enum cut {
	NO_CUT,
	ONE_BY_ONE,		/* does a host page, then says EAGAIN */
	ONE_ONLY,		/* and finds no memory from the second on */
	NONE,			/* finds no memory at all */
};

static atomic_int cut, cuts;
static bool no_poison;			/* the kernel is older than Linux 6.6 */
static char *view_a;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	uint64_t host = (uint64_t)sysconf(_SC_PAGESIZE), len;
	struct uffdio_continue *x = arg;
	int how = atomic_load(&cut), r = 0;

	if (no_poison && (request == UFFDIO_POISON || (request == UFFDIO_API &&
	    ((struct uffdio_api *)arg)->features & UFFD_FEATURE_POISON))) {
		errno = EINVAL;
		return -1;
	}
	if (request != UFFDIO_CONTINUE || how == NO_CUT ||
	    x->range.start - (uintptr_t)view_a >= PAGES * page_size)
		return __real_ioctl(fd, request, arg);
	if (atomic_fetch_add(&cuts, 1) >= (how == NONE ? 0 : how == ONE_ONLY ? 1 : INT_MAX)) {
		x->mapped = -ENOMEM;
		errno = ENOMEM;
		return -1;
	}
	len = x->range.len;
	x->range.len = host;
	r = __real_ioctl(fd, request, arg);
	x->range.len = len;
	if (r || len == host)
		return r;
	errno = EAGAIN;
	return -1;
}

static int no_cut(void **state)
{
	atomic_store(&cut, NO_CUT);
	atomic_store(&cuts, 0);
	no_poison = false;
	return fake_reset(state);
}

static struct apf_mem *ram(enum apf_trap trap, struct results *r)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = trap, .retries = 3, .retry_ns = 20 * MS,
	};
	struct apf_mem *m = ram_with(cfg, NULL, r);

	view_a = apf_mem_view_a(m);
	return m;
}

static char *at(void *view, uint64_t n)
{
	return (char *)view + n * page_size;
}

static void test_C2_small_pages_of_one_page_come_together_and_once(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_POISON, &r);

	fake.hold = true;
	for (uint64_t n = 5 * SMALL; n < 6 * SMALL; n++)
		assert_int_equal(apf_mem_want(m, n), 0);
	fake_wait_running(1);
	fake_release();
	results_wait(&r, 1);
	for (uint64_t n = 4 * SMALL; n < 7 * SMALL; n++)
		assert_int_equal(apf_mem_resident(m, n), n / SMALL == 5);
	for (uint64_t n = 5 * SMALL; n < 6 * SMALL; n++)
		assert_int_equal(apf_mem_want(m, n), 1);
	assert_int_equal(fake.requests, 1);
	assert_int_equal(apf_mem_want(m, PAGES * SMALL - 1), 0);
	assert_int_equal(apf_mem_want(m, PAGES * SMALL), -ERANGE);
	assert_int_equal(apf_mem_want(m, UINT64_MAX), -ERANGE);
	apf_mem_destroy(m);
}

static struct {
	struct apf_mem_done d[256];
	atomic_uint n;
} told;

static void note(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		unsigned int k = atomic_load(&told.n);

		told.d[k % 256] = d[i];
		atomic_store(&told.n, k + 1);
	}
}

static int third_bad(uint64_t page, unsigned int attempt)
{
	return page == 3 ? -EREMOTEIO : 0;
}

static void test_C1_N10_done_tells_of_every_small_page(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retries = 1, .retry_ns = MS,
		.done = note,
	};
	struct apf_mem *m;

	memset(&told, 0, sizeof(told));
	fake.result = third_bad;
	m = ram_with(cfg, NULL, NULL);
	assert_int_equal(need(m, 2, 1), 0);
	assert_int_equal(need(m, 3, 1), -EIO);
	for (int i = 0; i < 5000 && atomic_load(&told.n) < 2 * SMALL; i++)
		sleep_ms(1);
	assert_int_equal(told.n, 2 * SMALL);
	for (unsigned int i = 0; i < 2 * SMALL; i++) {
		assert_int_equal(told.d[i].page, 2 * SMALL + i);
		assert_int_equal(told.d[i].res, i < SMALL ? 0 : -EREMOTEIO);
		assert_int_equal(apf_mem_want(m, 2 * SMALL + i), i < SMALL ? 1 : -EIO);
	}
	apf_mem_destroy(m);
}

static void test_a_trap_anywhere_in_a_page_has_its_first_number(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_POISON, &r);
	char *page = at(apf_mem_view_a(m), 9);
	siginfo_t info;

	for (uint32_t i = 0; i < SMALL; i++)
		assert_int_equal(apf_mem_page_of(m, page + i * APF_PAGE_SIZE + 5), 9 * SMALL);
	for (uint32_t i = 0; i < page_size; i += 1000) {
		assert_int_equal(touch_page(page + i, 9, &info), TOUCH_TRAPPED);
		assert_int_equal(apf_mem_page_of(m, info.si_addr), 9 * SMALL);
	}
	apf_mem_destroy(m);
}

static void test_ranges_reach_whole_pages(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_POISON, &r);
	const struct apf_mem_range ranges[] = {
		{ 20 * SMALL + 1, 1 }, { 20 * SMALL + 3, 1 }, { 22 * SMALL - 1, 2 },
		{ 30 * SMALL, 0 },
	};

	assert_int_equal(apf_mem_need(m, 11 * SMALL - 1, 2), 0);
	assert_int_equal(apf_mem_need(m, 13 * SMALL + 1, 0), 0);
	assert_int_equal(apf_mem_preload(m, ranges, 4), 0);
	for (uint64_t n = 0; n < PAGES; n++) {
		bool here = n == 10 || n == 11 || (n >= 20 && n <= 22);

		assert_int_equal(resident(m, n), here);
		assert_int_equal(fake.reads[n], here);
	}
	assert_int_equal(apf_mem_need(m, PAGES * SMALL - 1, 1), 0);
	assert_int_equal(apf_mem_need(m, PAGES * SMALL - 1, 2), -ERANGE);
	apf_mem_destroy(m);
}

static void test_placing_goes_on_where_the_kernel_stopped(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_POISON, &r);

	assert_int_equal(touch_page(at(view_a, 40), 40, NULL), TOUCH_TRAPPED);
	atomic_store(&cut, ONE_BY_ONE);
	assert_int_equal(need(m, 40, 8), 0);
	assert_true(cuts >= 8 * 4);
	for (uint64_t n = 40; n < 48; n++)
		assert_int_equal(touch_page(at(view_a, n), n, NULL), TOUCH_OK);
	assert_int_equal(stats(m).retries, 0);
	apf_mem_destroy(m);
}

/* The guest runs on what is placed, whatever becomes of the rest. */
static void test_C15_what_was_written_to_a_page_half_placed_stays(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_POISON, &r);
	uint64_t *first = (uint64_t *)at(view_a, 40), was;

	assert_int_equal(touch_page(first, 40, NULL), TOUCH_TRAPPED);
	atomic_store(&cut, ONE_ONLY);
	fake.hold = true;
	pager_stop_in(m);
	for (uint64_t n = 40; n < 48; n++)
		assert_int_equal(want(m, n), 0);
	pager_go();
	fake_wait_running(1);
	fake_release();
	for (int i = 0; i < 5000 && atomic_load(&cuts) < 2; i++)
		sleep_ms(1);
	was = *first;				/* its host page is there */
	*first = 4711;
	atomic_store(&cut, NO_CUT);
	results_wait(&r, 8);
	assert_int_equal(r.lost, 0);
	assert_int_equal(*first, 4711);
	*first = was;
	for (uint64_t n = 40; n < 48; n++) {
		assert_int_equal(touch_page(at(view_a, n), n, NULL), TOUCH_OK);
		assert_int_equal(fake.reads[n], 1);
	}
	assert_true(stats(m).retries >= 8);
	apf_mem_destroy(m);
}

static void test_N10_a_page_that_can_never_be_placed_is_lost_and_says_why(void **state)
{
	struct results r;
	struct apf_mem *m = ram(APF_TRAP_BLOCK, &r);

	atomic_store(&cut, NONE);
	assert_int_equal(need(m, 7, 1), -EIO);
	results_wait(&r, 1);
	assert_int_equal(r.last_res, -ENOMEM);
	assert_non_null(strstr(apf_mem_lost_text(m), "has come but cannot be mapped"));
	assert_int_equal(touch_page(at(view_a, 7), 7, NULL), TOUCH_TRAPPED);
	apf_mem_destroy(m);
}

static void test_without_POISON_pages_come_and_lost_ones_raise_SIGBUS(void **state)
{
	struct toucher in_a, in_b;
	struct results r;
	struct apf_mem *m;

	no_poison = true;
	fake.result = third_bad;
	m = ram(APF_TRAP_BLOCK, &r);
	assert_int_equal(need(m, 2, 1), 0);
	assert_int_equal(touch_page(at(view_a, 4), 4, NULL), TOUCH_OK);
	fake.hold = true;
	toucher_start(&in_a, at(view_a, 3), 3);
	toucher_start(&in_b, at(apf_mem_view_b(m), 3), 3);
	fake_wait_running(1);
	assert_true(toucher_blocks(&in_a) && toucher_blocks(&in_b));
	fake_release();
	assert_int_equal(toucher_result(&in_a), TOUCH_TRAPPED);
	assert_int_equal(toucher_result(&in_b), TOUCH_TRAPPED);
	assert_int_equal(touch_page(at(view_a, 3), 3, NULL), TOUCH_TRAPPED);
	assert_int_equal(touch_page(at(apf_mem_view_b(m), 3), 3, NULL), TOUCH_TRAPPED);
	assert_int_equal(touch_page(at(view_a, 2), 2, NULL), TOUCH_OK);
	assert_int_equal(touch_page(at(apf_mem_view_b(m), 5), 5, NULL), TOUCH_OK);
	assert_int_equal(apf_mem_discard(m, 3 * SMALL, SMALL), 0);
	assert_int_equal(touch_page(at(apf_mem_view_b(m), 3), 3, NULL), TOUCH_ZERO);
	assert_int_equal(touch_page(at(view_a, 3), 3, NULL), TOUCH_ZERO);
	apf_mem_destroy(m);
}

static void test_without_POISON_mode_user_s_trap_is_refused_with_the_reason(void **state)
{
	struct apf_mem_config cfg = { .size = PAGES * page_size, .trap = APF_TRAP_POISON };
	struct apf_mem *m;

	no_poison = true;
	assert_int_equal(apf_store_open("fake", &cfg.store), 0);
	assert_int_equal(apf_mem_create(&cfg, &m), -EOPNOTSUPP);
	assert_non_null(strstr(apf_error(), "POISON (Linux 6.6)"));
	apf_store_close(cfg.store);
}

#define TEST(f) cmocka_unit_test_setup(f, no_cut)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_C2_small_pages_of_one_page_come_together_and_once),
		TEST(test_C1_N10_done_tells_of_every_small_page),
		TEST(test_a_trap_anywhere_in_a_page_has_its_first_number),
		TEST(test_ranges_reach_whole_pages),
		TEST(test_placing_goes_on_where_the_kernel_stopped),
		TEST(test_C15_what_was_written_to_a_page_half_placed_stays),
		TEST(test_N10_a_page_that_can_never_be_placed_is_lost_and_says_why),
		TEST(test_without_POISON_pages_come_and_lost_ones_raise_SIGBUS),
		TEST(test_without_POISON_mode_user_s_trap_is_refused_with_the_reason),
	};

	if (kernel_lacks_something())
		return 0;
	page_size = 4 * (uint32_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
