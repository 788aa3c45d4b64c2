/* SPDX-License-Identifier: MIT */
/* What a touch of a missing page does, in each view and with each trap. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	(4 * CHUNK + CHUNK / 5)	/* four chunks and a piece */

static char *page_in(void *view, uint64_t n)
{
	return (char *)view + n * page_size;
}

static void test_poison_a_touch_of_A_raises_SIGBUS_at_the_page(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);
	siginfo_t info;

	for (uint64_t n = 3; n < PAGES; n += CHUNK - 11) {
		assert_int_equal(touch_page(page_in(a, n), n, &info), TOUCH_TRAPPED);
		assert_ptr_equal(info.si_addr, page_in(a, n));
		assert_true(info.si_code == BUS_MCEERR_AR || info.si_code == BUS_ADRERR);
		assert_int_equal(apf_mem_page_of(m, info.si_addr), n * SMALL);
		assert_false(resident(m, n));
		assert_int_equal(fake.reads[n], 0);	/* a touch alone fetches nothing */
	}
	apf_mem_destroy(m);
}

static void test_poison_the_page_is_there_after_want_and_done(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);

	assert_int_equal(touch_page(page_in(a, 7), 7, NULL), TOUCH_TRAPPED);
	assert_int_equal(want(m, 7), 0);
	results_wait(&r, 1);
	assert_int_equal(r.last_page, 7);
	assert_int_equal(r.last_res, 0);
	assert_true(resident(m, 7));
	assert_int_equal(want(m, 7), 1);
	assert_int_equal(touch_page(page_in(a, 7), 7, NULL), TOUCH_OK);
	assert_int_equal(touch_page(page_in(a, 8), 8, NULL), TOUCH_TRAPPED);
	apf_mem_destroy(m);
}

/* A chunk's first touch, made before an idle moment has armed it: on a slow machine not at once. */
static struct apf_mem *touched_first(struct results *r)
{
	for (int i = 0; i < 100; i++) {
		struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, r);

		touch_page(page_in(apf_mem_view_a(m), CHUNK), CHUNK, NULL);
		if (stats(m).blocked)
			return m;
		apf_mem_destroy(m);
	}
	fail_msg("nothing is left to be armed at the first touch");
	return NULL;
}

static void test_poison_the_first_touch_of_a_chunk_arms_all_of_it(void **state)
{
	struct results r;
	struct apf_mem *m = touched_first(&r);
	char *a = apf_mem_view_a(m);

	for (uint64_t n = CHUNK; n < 2 * CHUNK; n += 7)
		assert_int_equal(touch_page(page_in(a, n), n, NULL), TOUCH_TRAPPED);
	assert_int_equal(stats(m).blocked, 1);	/* the others met a marker */
	apf_mem_destroy(m);
}

static void test_poison_arming_leaves_what_is_here_alone(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);

	for (uint64_t n = CHUNK; n < 2 * CHUNK; n += 3)
		assert_int_equal(need(m, n, 1), 0);
	for (uint64_t n = CHUNK; n < 2 * CHUNK; n++)
		assert_int_equal(touch_page(page_in(a, n), n, NULL),
				 (n - CHUNK) % 3 ? TOUCH_TRAPPED : TOUCH_OK);
	apf_mem_destroy(m);
}

static void test_poison_idle_moments_arm_everything(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);

	for (int i = 0; i < 5000 && stats(m).armed < 5; i++)
		sleep_ms(1);
	assert_int_equal(stats(m).armed, 5);
	for (uint64_t n = 0; n < PAGES; n += 13)
		assert_int_equal(touch_page(page_in(a, n), n, NULL), TOUCH_TRAPPED);
	assert_int_equal(stats(m).blocked, 0);
	apf_mem_destroy(m);
}

static void test_poison_the_kernel_gets_EFAULT_from_a_marked_page(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *a = apf_mem_view_a(m);
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(touch_page(page_in(a, 20), 20, NULL), TOUCH_TRAPPED);
	assert_int_equal(write(p[1], page_in(a, 21), 8), -1);
	assert_int_equal(errno, EFAULT);
	close(p[0]);
	close(p[1]);
	apf_mem_destroy(m);
}

static void test_block_a_touch_of_A_waits_for_its_page(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_BLOCK, &r);
	struct toucher t;

	fake.hold = true;
	toucher_start(&t, page_in(apf_mem_view_a(m), 100), 100);
	fake_wait_running(1);
	assert_true(toucher_blocks(&t));
	fake_release();
	assert_int_equal(toucher_result(&t), TOUCH_OK);
	assert_int_equal(fake.reads[100], 1);
	apf_mem_destroy(m);
}

static void test_B_blocks_until_the_page_is_whole_with_both_traps(void **state)
{
	static const enum apf_trap traps[] = { APF_TRAP_BLOCK, APF_TRAP_POISON };

	for (int i = 0; i < 2; i++) {
		struct results r;
		struct apf_mem *m;
		struct toucher t;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		fake.hold = true;
		fake.scribble = true;	/* half a page of junk is in the page cache meanwhile */
		assert_int_equal(want(m, 9), 0);
		fake_wait_running(1);
		toucher_start(&t, page_in(apf_mem_view_b(m), 9), 9);
		assert_true(toucher_blocks(&t));
		fake_release();
		assert_int_equal(toucher_result(&t), TOUCH_OK);
		/* And one that nobody asked for but the access itself. */
		assert_int_equal(touch_page(page_in(apf_mem_view_b(m), 107), 107, NULL), TOUCH_OK);
		assert_true(resident(m, 107));
		assert_int_equal(fake.reads[9] + fake.reads[107], 2);
		apf_mem_destroy(m);
	}
}

static void test_the_kernel_may_block_in_B_too(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char page[page_size];
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], page_in(apf_mem_view_b(m), 33), page_size), page_size);
	assert_int_equal(read(p[0], page, page_size), page_size);
	assert_true(fake_is_page(page, 33));
	close(p[0]);
	close(p[1]);
	apf_mem_destroy(m);
}

static void test_a_write_through_one_view_shows_in_all(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	uint32_t value = 0;

	assert_int_equal(need(m, 5, 1), 0);
	*(uint32_t *)page_in(apf_mem_view_b(m), 5) = 0x12345678;
	assert_int_equal(*(uint32_t *)page_in(apf_mem_view_a(m), 5), 0x12345678);
	assert_int_equal(apf_mem_read(m, 5 * page_size, &value, 4), 0);
	assert_int_equal(value, 0x12345678);
	apf_mem_destroy(m);
}

static void test_no_trap_everything_is_here_and_zero(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, &r);

	assert_int_equal(touch_page(page_in(apf_mem_view_a(m), 3), 3, NULL), TOUCH_ZERO);
	assert_int_equal(touch_page(page_in(apf_mem_view_b(m), 4), 4, NULL), TOUCH_ZERO);
	assert_int_equal(want(m, 6), 1);
	assert_int_equal(want(m, PAGES), -ERANGE);
	assert_int_equal(need(m, 0, PAGES), 0);
	apf_mem_destroy(m);
}

static void test_a_child_process_does_not_inherit_the_views(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *view = apf_mem_view_b(m);
	int status;
	pid_t pid;

	assert_int_equal(need(m, 0, 1), 0);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(volatile char *)view == 77);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	apf_mem_destroy(m);
}

struct writer {
	int fd;
	const void *from;
	int error;
};

static void *write_a_word(void *arg)
{
	struct writer *w = arg;

	w->error = write(w->fd, w->from, 8) < 0 ? errno : 0;
	return NULL;
}

static void test_who_waits_in_A_for_a_page_gets_an_error_when_A_is_cut_off(void **state)
{
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_BLOCK, &r);
	struct writer w = { .from = page_in(apf_mem_view_a(m), 9) };
	pthread_t thread;
	int p[2];

	assert_int_equal(pipe(p), 0);
	w.fd = p[1];
	fake.hold = true;
	assert_int_equal(pthread_create(&thread, NULL, write_a_word, &w), 0);
	fake_wait_running(1);
	assert_int_equal(apf_mem_cut_off(m), 0);
	pthread_join(thread, NULL);
	assert_int_equal(w.error, EFAULT);
	fake_release();
	results_wait(&r, 1);
	assert_int_equal(r.last_res, 0);	/* what comes too late is not lost */
	close(p[0]);
	close(p[1]);
	apf_mem_destroy(m);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_poison_a_touch_of_A_raises_SIGBUS_at_the_page),
		TEST(test_poison_the_page_is_there_after_want_and_done),
		TEST(test_poison_the_first_touch_of_a_chunk_arms_all_of_it),
		TEST(test_poison_arming_leaves_what_is_here_alone),
		TEST(test_poison_idle_moments_arm_everything),
		TEST(test_poison_the_kernel_gets_EFAULT_from_a_marked_page),
		TEST(test_block_a_touch_of_A_waits_for_its_page),
		TEST(test_B_blocks_until_the_page_is_whole_with_both_traps),
		TEST(test_the_kernel_may_block_in_B_too),
		TEST(test_a_write_through_one_view_shows_in_all),
		TEST(test_no_trap_everything_is_here_and_zero),
		TEST(test_a_child_process_does_not_inherit_the_views),
		TEST(test_who_waits_in_A_for_a_page_gets_an_error_when_A_is_cut_off),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
