/* SPDX-License-Identifier: MIT */
/* The rest of the interface: access without side effects, later calls, page numbers. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	1024u

static void test_C9_access_reaches_resident_pages_only_and_fetches_nothing(void **state)
{
	const struct {
		uint64_t offset;
		size_t len;
		int res;
	} rows[] = {
		{ 10 * page_size, page_size, 0 },		/* pages 10, 11, 12 are here */
		{ 10 * page_size, 3 * page_size, 0 },
		{ 10 * page_size + 7, 5000, 0 },
		{ 10 * page_size - 1, 2, -EFAULT },
		{ 13 * page_size - 1, 2, -EFAULT },
		{ 13 * page_size - 1, 1, 0 },
		{ 13 * page_size, 4, -EFAULT },
		{ 9 * page_size, 0, 0 },
		{ PAGES * (uint64_t)page_size, 0, 0 },
		{ PAGES * (uint64_t)page_size, 1, -ERANGE },
		{ PAGES * (uint64_t)page_size - 4, 8, -ERANGE },
		{ UINT64_MAX - 2, 8, -ERANGE },
		{ 0, SIZE_MAX, -ERANGE },
	};
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	char *buf = malloc(3 * page_size), *all = malloc(3 * page_size);

	assert_int_equal(need(m, 10, 3), 0);
	for (int i = 0; i < 3; i++)
		fake_fill(all + i * page_size, 10 + (uint64_t)i);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int res = apf_mem_read(m, rows[i].offset, buf, rows[i].len);

		if (res != rows[i].res)
			fail_msg("row %zu: %d", i, res);
		if (!res && rows[i].len)
			assert_memory_equal(buf, all + rows[i].offset - 10 * page_size,
					    rows[i].len);
		res = apf_mem_write(m, rows[i].offset, buf, rows[i].len);
		if (res != rows[i].res)
			fail_msg("row %zu: write %d", i, res);
	}
	assert_int_equal(fake.reads[9] + fake.reads[13], 0);
	free(buf);
	free(all);
	apf_mem_destroy(m);
}

static struct apf_mem *words_mem;

static void *flip(void *arg)
{
	static const uint32_t values[] = { 0x11111111, 0xeeeeeeee };

	for (int i = 0; i < 20000; i++)
		apf_mem_write(words_mem, 64, &values[i % 2], 4);
	return NULL;
}

static void test_aligned_words_are_never_torn(void **state)
{
	uint32_t word = 0;
	pthread_t t;

	words_mem = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	pthread_create(&t, NULL, flip, NULL);
	for (int i = 0; i < 20000; i++) {
		assert_int_equal(apf_mem_read(words_mem, 64, &word, 4), 0);
		assert_true(!word || word == 0x11111111 || word == 0xeeeeeeee);
	}
	pthread_join(t, NULL);
	apf_mem_destroy(words_mem);
}

struct later {
	uint64_t due, latest, called;	/* due: between the first two */
	pthread_t thread;
	atomic_bool done;
};

static void note(void *arg)
{
	struct later *l = arg;

	l->called = now_ns();
	l->thread = pthread_self();
	atomic_store(&l->done, true);
}

static void test_later_calls_come_on_the_pager_s_thread_and_not_too_early(void **state)
{
	static const unsigned int ms[] = { 30, 0, 10, 20 };
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	struct later l[4];

	memset(l, 0, sizeof(l));
	for (int i = 0; i < 4; i++) {
		l[i].due = now_ns() + ms[i] * MS;
		assert_int_equal(apf_mem_after(m, ms[i] * MS, note, &l[i]), 0);
		l[i].latest = now_ns() + ms[i] * MS;
	}
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 5000 && !atomic_load(&l[i].done); k++)
			sleep_ms(1);
		assert_true(atomic_load(&l[i].done));
		assert_true(l[i].called >= l[i].due);
		assert_false(pthread_equal(l[i].thread, pthread_self()));
		assert_true(pthread_equal(l[i].thread, l[0].thread));
	}
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < 4; k++)
			assert_true(l[i].latest >= l[k].due || l[i].called < l[k].called);
	apf_mem_destroy(m);
}

static void test_later_calls_that_are_not_due_are_dropped_by_destroy(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	struct later l = { 0 };

	for (int i = 0; i < 100; i++)
		assert_int_equal(apf_mem_after(m, 3600 * 1000 * MS, note, &l), 0);
	apf_mem_destroy(m);
	assert_false(atomic_load(&l.done));
}

static void test_page_of_knows_A_and_nothing_else(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	char *a = apf_mem_view_a(m);

	assert_int_equal(apf_mem_size(m), PAGES * page_size);
	assert_int_equal(apf_mem_page_size(m), page_size);
	assert_int_equal(apf_mem_page_of(m, a), 0);
	assert_int_equal(apf_mem_page_of(m, a + page_size - 1), 0);
	assert_int_equal(apf_mem_page_of(m, a + page_size), SMALL);
	assert_int_equal(apf_mem_page_of(m, a + PAGES * page_size - 1), (PAGES - 1) * SMALL);
	assert_true(apf_mem_page_of(m, a + PAGES * page_size) == UINT64_MAX);
	assert_true(apf_mem_page_of(m, a - 1) == UINT64_MAX);
	assert_true(apf_mem_page_of(m, NULL) == UINT64_MAX);
	assert_true(apf_mem_page_of(m, apf_mem_view_b(m)) == UINT64_MAX);
	assert_false(resident(m, PAGES));
	apf_mem_destroy(m);
}

/* What an earlier failure left behind must not explain this one. */
static void test_each_error_has_its_own_text(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);
	const uint64_t end = apf_mem_size(m);
	uint32_t word = 0;

	apf_error_set(-EINVAL, "stale");
	assert_int_equal(apf_mem_want(m, PAGES * SMALL), -ERANGE);
	assert_non_null(strstr(apf_error(), "is not inside RAM"));
	apf_error_set(-EINVAL, "stale");
	assert_int_equal(apf_mem_need(m, PAGES * SMALL, 1), -ERANGE);
	assert_non_null(strstr(apf_error(), "is not inside RAM"));
	apf_error_set(-EINVAL, "stale");
	assert_int_equal(apf_mem_read(m, 0, &word, 4), -EFAULT);
	assert_string_equal(apf_error(), "page 0 is not resident");
	apf_error_set(-EINVAL, "stale");
	assert_int_equal(apf_mem_write(m, end, &word, 4), -ERANGE);
	assert_non_null(strstr(apf_error(), "is not inside RAM"));
	apf_mem_destroy(m);
}

static bool is_dirty(struct apf_mem *m, uint64_t first, uint64_t i)
{
	const uint64_t host = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t bits[2] = { 0 };

	assert_int_equal(apf_mem_dirty(m, first * host, 100 * host, bits), 0);
	for (unsigned int k = 0; k < 128; k++)
		if (k != i && bits[k / 64] >> k % 64 & 1)
			fail_msg("page %u is dirty, too", k);
	return bits[i / 64] >> i % 64 & 1;
}

static void test_what_is_written_for_the_guest_is_in_the_dirty_log_once(void **state)
{
	const uint64_t host = (uint64_t)sysconf(_SC_PAGESIZE);
	struct results r;
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	uint64_t word = 1, bits[2] = { 1, 1ull << 63 };

	assert_int_equal(apf_mem_write(m, 70 * host, &word, 4), -EFAULT);
	assert_int_equal(apf_mem_need(m, 0, PAGES * SMALL), 0);
	assert_false(is_dirty(m, 0, 70));	/* what comes from the store is not written */
	assert_int_equal(apf_mem_write(m, 70 * host + 8, &word, 4), 0);
	assert_false(is_dirty(m, 71, 0));
	assert_true(is_dirty(m, 0, 70));
	assert_false(is_dirty(m, 0, 70));
	assert_int_equal(apf_mem_write(m, 70 * host, &word, 8), 0);
	assert_true(is_dirty(m, 5, 65));	/* bit 0 is the slot's first page */
	assert_int_equal(apf_mem_write(m, 71 * host - 1, &word, 2), 0);
	assert_int_equal(apf_mem_dirty(m, 0, 128 * host, bits), 0);
	assert_int_equal(bits[0], 1);		/* what was set stays */
	assert_true(bits[1] == (1ull << 63 | 1 << 6 | 1 << 7));
	assert_int_equal(apf_mem_dirty(m, 1, host, bits), -EINVAL);
	assert_int_equal(apf_mem_dirty(m, 0, apf_mem_size(m) + host, bits), -ERANGE);
	assert_int_equal(apf_mem_dirty(m, UINT64_MAX - host + 1, host, bits), -ERANGE);
	apf_mem_destroy(m);
}

static void test_discarded_pages_are_in_the_dirty_log(void **state)
{
	const uint64_t host = (uint64_t)sysconf(_SC_PAGESIZE);
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);
	uint64_t bits[1] = { 0 };

	assert_int_equal(apf_mem_discard(m, SMALL, SMALL), 0);
	assert_int_equal(apf_mem_dirty(m, 0, 64 * host, bits), 0);
	assert_int_equal(bits[0], ((1ull << page_size / host) - 1) << page_size / host);
	apf_mem_destroy(m);
}

static void test_the_memfd_keeps_its_size_and_serves_others_once_pages_are_here(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);
	char *other;

	assert_int_equal(ftruncate(apf_mem_fd(m), page_size), -1);
	assert_int_equal(ftruncate(apf_mem_fd(m), 2 * PAGES * page_size), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(apf_mem_fd(m), F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(need(m, 3, 2), 0);
	other = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, apf_mem_fd(m), 0);
	assert_true(other != MAP_FAILED);
	assert_true(fake_is_page(other + 3 * page_size, 3));
	fake_fill(other + 4 * page_size, 77);
	assert_int_equal(touch_page((char *)apf_mem_view_a(m) + 4 * page_size, 77, NULL), TOUCH_OK);
	munmap(other, PAGES * page_size);
	apf_mem_destroy(m);
}

/* The flags of the mapping that begins there. */
static bool left_out_of_dumps(const void *view)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512], start[32];
	bool here = false, found = false;

	assert_non_null(f);
	snprintf(start, sizeof(start), "%lx-", (unsigned long)view);
	while (fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && !strncmp(line, start, strlen(start)))
			here = true;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, " dd") != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

static void test_core_dumps_leave_RAM_out(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);

	assert_true(left_out_of_dumps(apf_mem_view_a(m)));
	assert_true(left_out_of_dumps(apf_mem_view_b(m)));
	apf_mem_destroy(m);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_C9_access_reaches_resident_pages_only_and_fetches_nothing),
		TEST(test_aligned_words_are_never_torn),
		TEST(test_later_calls_come_on_the_pager_s_thread_and_not_too_early),
		TEST(test_later_calls_that_are_not_due_are_dropped_by_destroy),
		TEST(test_page_of_knows_A_and_nothing_else),
		TEST(test_each_error_has_its_own_text),
		TEST(test_what_is_written_for_the_guest_is_in_the_dirty_log_once),
		TEST(test_discarded_pages_are_in_the_dirty_log),
		TEST(test_the_memfd_keeps_its_size_and_serves_others_once_pages_are_here),
		TEST(test_core_dumps_leave_RAM_out),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
