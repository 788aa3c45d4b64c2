/* SPDX-License-Identifier: MIT */
/* Pages that were given back are zero from then on, whatever the store has and does. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	(4 * CHUNK + CHUNK / 5)

static const enum apf_trap traps[] = { APF_TRAP_BLOCK, APF_TRAP_POISON };

static char *page_in(void *view, uint64_t n)
{
	return (char *)view + n * page_size;
}

static int discard(struct apf_mem *m, uint64_t n, uint64_t count)
{
	return apf_mem_discard(m, n * SMALL, count * SMALL);
}

/* Touch a page of A until it is here, as a vCPU would. */
static enum touch fault_in(struct apf_mem *m, uint64_t n)
{
	void *at = page_in(apf_mem_view_a(m), n);
	enum touch t = touch_page(at, n, NULL);

	if (t != TOUCH_TRAPPED)
		return t;
	assert_int_equal(need(m, n, 1), 0);
	return touch_page(at, n, NULL);
}

static void test_what_was_here_is_freed_traps_again_and_comes_as_zeroes(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct results r;
		struct apf_mem *m;
		struct stat before, after;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		assert_int_equal(need(m, 0, PAGES), 0);
		fault_in(m, 10);
		assert_int_equal(fstat(apf_mem_fd(m), &before), 0);
		assert_int_equal(discard(m, 10, 2 * CHUNK), 0);
		assert_int_equal(fstat(apf_mem_fd(m), &after), 0);
		assert_int_equal((before.st_blocks - after.st_blocks) * 512,
				 2 * CHUNK * page_size);
		for (uint64_t n = 10; n < 9 + 2 * CHUNK; n += 17) {
			assert_false(resident(m, n));
			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL),
					 traps[i] == APF_TRAP_BLOCK ? TOUCH_ZERO : TOUCH_TRAPPED);
			assert_int_equal(fault_in(m, n), TOUCH_ZERO);
			assert_int_equal(touch_page(page_in(apf_mem_view_b(m), n + 1), n + 1, NULL),
					 TOUCH_ZERO);
			assert_int_equal(fault_in(m, n + 1), TOUCH_ZERO);
			assert_int_equal(fake.reads[n] + fake.reads[n + 1], 2);
		}
		assert_int_equal(fault_in(m, 9), TOUCH_OK);
		assert_int_equal(fault_in(m, 10 + 2 * CHUNK), TOUCH_OK);
		apf_mem_destroy(m);
	}
}

static void test_poison_the_marker_is_back_before_the_next_touch(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);
	uint64_t blocked;

	for (uint64_t n = 0; n < 2 * CHUNK; n += CHUNK)		/* arms two chunks */
		assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL), TOUCH_TRAPPED);
	assert_int_equal(need(m, 0, 2 * CHUNK), 0);
	assert_int_equal(discard(m, CHUNK - 20, 40), 0);
	blocked = stats(m).blocked;
	for (uint64_t n = CHUNK - 20; n < CHUNK + 20; n++)
		assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL), TOUCH_TRAPPED);
	assert_int_equal(stats(m).blocked, blocked);
	apf_mem_destroy(m);
}

/* A hole punched behind the pager's back had every touch go round for ever. */
static void test_touches_of_discarded_pages_are_answered_once_each(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_BLOCK, NULL);

	assert_int_equal(need(m, 0, 100), 0);
	assert_int_equal(discard(m, 0, 100), 0);
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL), TOUCH_ZERO);
	assert_true(stats(m).blocked <= 100);
	apf_mem_destroy(m);
}

static void test_what_is_not_here_is_never_read(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct results r;
		struct apf_mem *m;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		if (i)				/* its chunk is armed, page 5 has a marker */
			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), 5), 5, NULL),
					 TOUCH_TRAPPED);
		assert_int_equal(discard(m, 5, 40), 0);
		assert_int_equal(need(m, 0, 60), 0);
		for (uint64_t n = 0; n < 60; n++) {
			bool zero = n >= 5 && n < 45;

			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL),
					 zero ? TOUCH_ZERO : TOUCH_OK);
			assert_int_equal(fake.reads[n], !zero);
		}
		assert_int_equal(r.n, 60);
		assert_int_equal(stats(m).zero, 40);
		apf_mem_destroy(m);
	}
}

static void test_what_is_on_its_way_comes_as_zeroes_and_its_neighbours_as_they_are(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct toucher in_b;
		struct results r;
		struct apf_mem *m;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		fake.hold = true;
		fake.scribble = true;
		pager_stop_in(m);
		for (uint64_t n = 64; n < 80; n++)
			assert_int_equal(want(m, n), 0);
		pager_go();
		fake_wait_running(1);
		toucher_start(&in_b, page_in(apf_mem_view_b(m), 70), 70);
		assert_true(toucher_blocks(&in_b));
		assert_int_equal(discard(m, 68, 3), 0);		/* does not wait for the read */
		assert_int_equal(r.n, 0);
		fake_release();
		results_wait(&r, 16);
		assert_int_equal(fake.biggest, 16);		/* they were read together */
		assert_int_equal(toucher_result(&in_b), TOUCH_ZERO);
		for (uint64_t n = 64; n < 80; n++)
			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL),
					 n >= 68 && n < 71 ? TOUCH_ZERO : TOUCH_OK);
		assert_int_equal(r.n, 16);
		assert_int_equal(fake.requests, 1);
		apf_mem_destroy(m);
	}
}

static int bad_70(uint64_t page, unsigned int attempt)
{
	return page == 70 ? -EREMOTEIO : 0;
}

static void test_what_fails_and_what_is_lost_is_zero_then(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct apf_mem_config cfg = {
			.size = PAGES * page_size, .trap = traps[i], .retries = 2, .retry_ns = MS,
		};
		struct results r;
		struct apf_mem *m;

		fake_reset(NULL);
		fake.result = bad_70;
		m = ram_with(cfg, NULL, &r);
		assert_int_equal(need(m, 70, 1), -EIO);
		assert_int_equal(discard(m, 70, 1), 0);
		assert_int_equal(fault_in(m, 70), TOUCH_ZERO);
		assert_int_equal(touch_page(page_in(apf_mem_view_b(m), 70), 70, NULL), TOUCH_ZERO);
		apf_mem_destroy(m);

		fake_reset(NULL);
		fake.result = bad_70;
		m = ram_with(cfg, NULL, &r);
		fake.hold = true;
		assert_int_equal(want(m, 70), 0);
		fake_wait_running(1);
		assert_int_equal(discard(m, 70, 1), 0);
		fake_release();
		assert_int_equal(need(m, 70, 1), 0);
		assert_int_equal(fault_in(m, 70), TOUCH_ZERO);
		assert_int_equal(r.lost, 0);
		apf_mem_destroy(m);
	}
}

static void test_without_a_trap_the_memory_is_zero_at_once(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	char *a = apf_mem_view_a(m);

	fake_fill(page_in(a, 3), 3);
	fake_fill(page_in(a, 4), 4);
	assert_int_equal(discard(m, 3, 1), 0);
	assert_int_equal(touch_page(page_in(a, 3), 3, NULL), TOUCH_ZERO);
	assert_int_equal(touch_page(page_in(a, 4), 4, NULL), TOUCH_OK);
	apf_mem_destroy(m);
}

static void test_refused_with_a_reason(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_BLOCK, NULL);

	assert_int_equal(discard(m, PAGES, 0), 0);
	assert_int_equal(discard(m, PAGES - 1, 2), -ERANGE);
	assert_non_null(strstr(apf_error(), "not inside RAM"));
	assert_int_equal(apf_mem_discard(m, UINT64_MAX, 2), -ERANGE);
	if (SMALL > 1) {
		assert_int_equal(apf_mem_discard(m, 1, SMALL), -EINVAL);
		assert_int_equal(apf_mem_discard(m, SMALL, 1), -EINVAL);
		assert_non_null(strstr(apf_error(), "not whole pages"));
	}
	apf_mem_destroy(m);
}

static void test_a_save_has_zeroes_wherever_the_page_was(void **state)
{
	char path[] = "./apf-discard-XXXXXX", page[page_size];
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	int out = mkstemp(path);

	assert_true(out >= 0);
	assert_int_equal(need(m, 0, 10), 0);
	assert_int_equal(discard(m, 5, 10), 0);		/* here, and missing */
	fake.hold = true;
	assert_int_equal(want(m, 40), 0);
	fake_wait_running(1);
	assert_int_equal(discard(m, 40, 1), 0);		/* on its way */
	fake_release();
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
	for (uint64_t n = 0; n < 50; n++) {
		assert_int_equal(pread(out, page, page_size, (off_t)(n * page_size)), page_size);
		if ((n >= 5 && n < 15) || n == 40)
			assert_true(fake_is_zero(page));
		else
			assert_true(fake_is_page(page, n));
	}
	close(out);
	unlink(path);
	apf_mem_destroy(m);
}

/* Somebody looked at the memfd through a mapping of their own: its page is there, A's is not. */
static void test_a_zero_page_that_the_page_cache_has_already_is_mapped(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct results r;
		struct apf_mem *m;
		char *other;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		other = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			     apf_mem_fd(m), 0);
		assert_true(other != MAP_FAILED);
		if (traps[i] == APF_TRAP_POISON)
			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), 20), 20, NULL),
					 TOUCH_TRAPPED);
		assert_int_equal(discard(m, 20, 8), 0);
		for (uint64_t n = 20; n < 28; n += 3)
			assert_true(fake_is_zero(page_in(other, n)));
		assert_int_equal(need(m, 20, 8), 0);
		for (uint64_t n = 20; n < 28; n++)
			assert_int_equal(touch_page(page_in(apf_mem_view_a(m), n), n, NULL),
					 TOUCH_ZERO);
		munmap(other, PAGES * page_size);
		apf_mem_destroy(m);
	}
}

#define RACED 64u

static struct apf_mem *raced;
static atomic_bool race_over;

static void *race_touch(void *arg)
{
	uint64_t n = (uintptr_t)arg;

	while (!atomic_load(&race_over)) {
		enum touch t;

		n = (n + 7) % RACED;
		t = touch_page(page_in(n % 2 ? apf_mem_view_b(raced) : apf_mem_view_a(raced), n), n,
			       NULL);
		if (t == TOUCH_TRAPPED)
			apf_mem_need(raced, n * SMALL, SMALL);
	}
	return NULL;
}

static void test_discards_beside_touches_fetches_and_saves_leave_whole_pages(void **state)
{
	char path[] = "./apf-discard-XXXXXX", page[page_size];
	pthread_t t[4];
	int out;

	for (int i = 0; i < 2; i++) {
		fake_reset(NULL);
		raced = ram_on(NULL, RACED, traps[i], NULL);
		atomic_store(&race_over, false);
		for (uintptr_t k = 0; k < 4; k++)
			pthread_create(&t[k], NULL, race_touch, (void *)k);
		srand(5);
		for (int k = 0; k < 3000; k++)
			assert_int_equal(discard(raced, (uint64_t)rand() % (RACED - 8),
						 (uint64_t)rand() % 8), 0);
		out = open(strcpy(path, "./apf-discard-save"), O_RDWR | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(apf_mem_save(raced, out, NULL, NULL), 0);
		assert_int_equal(discard(raced, 0, RACED), 0);
		atomic_store(&race_over, true);
		for (int k = 0; k < 4; k++)
			pthread_join(t[k], NULL);
		for (uint64_t n = 0; n < RACED; n++) {
			assert_int_equal(fault_in(raced, n), TOUCH_ZERO);
			assert_int_equal(pread(out, page, page_size, (off_t)(n * page_size)),
					 page_size);
			assert_true(fake_is_zero(page) || fake_is_page(page, n));
		}
		close(out);
		unlink(path);
		apf_mem_destroy(raced);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_here_is_freed_traps_again_and_comes_as_zeroes),
		TEST(test_poison_the_marker_is_back_before_the_next_touch),
		TEST(test_touches_of_discarded_pages_are_answered_once_each),
		TEST(test_what_is_not_here_is_never_read),
		TEST(test_what_is_on_its_way_comes_as_zeroes_and_its_neighbours_as_they_are),
		TEST(test_what_fails_and_what_is_lost_is_zero_then),
		TEST(test_without_a_trap_the_memory_is_zero_at_once),
		TEST(test_refused_with_a_reason),
		TEST(test_a_save_has_zeroes_wherever_the_page_was),
		TEST(test_a_zero_page_that_the_page_cache_has_already_is_mapped),
		TEST(test_discards_beside_touches_fetches_and_saves_leave_whole_pages),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
