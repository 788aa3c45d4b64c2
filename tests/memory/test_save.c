/* SPDX-License-Identifier: MIT */
/* Saving RAM, wherever its pages are, gives the bytes a guest would see. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

#define PAGES	4096u

static char out_path[64];
static int out;

static void open_out(void)
{
	snprintf(out_path, sizeof(out_path), "./apf-save-XXXXXX");
	out = mkstemp(out_path);
	assert_true(out >= 0);
}

static void close_out(void)
{
	close(out);
	unlink(out_path);
}

static void read_saved(uint64_t n, void *page)
{
	assert_int_equal(pread(out, page, page_size, (off_t)(n * page_size)),
			 page_size);
}

static struct {
	uint64_t last;
	unsigned int calls, backwards;
} seen;

static void progress(void *arg, uint64_t done)
{
	seen.calls++;
	seen.backwards += done < seen.last;
	seen.last = done;
}

static void test_half_resident_RAM_is_saved_as_it_is_in_the_store(void **state)
{
	static const enum apf_trap traps[] = { APF_TRAP_BLOCK, APF_TRAP_POISON };

	for (int i = 0; i < 2; i++) {
		char page[page_size];
		struct apf_mem_stats st;
		struct results r;
		struct apf_mem *m;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		srand(3);
		for (int k = 0; k < 1500; k++)
			assert_int_equal(need(m, (uint64_t)rand() % PAGES, 1), 0);
		assert_int_equal(need(m, 1000, 600), 0);
		st = stats(m);
		memset(&seen, 0, sizeof(seen));
		open_out();
		assert_int_equal(apf_mem_save(m, out, progress, NULL), 0);
		for (uint64_t n = 0; n < PAGES; n++) {
			read_saved(n, page);
			assert_true(fake_is_page(page, n));
		}
		assert_int_equal(seen.last, PAGES * page_size);
		assert_int_equal(seen.backwards, 0);
		assert_true(seen.calls > 10);
		for (uint64_t n = 0; n < PAGES; n++)	/* what was not here still is not */
			st.fetched -= resident(m, n);
		assert_int_equal(st.fetched, 0);
		close_out();
		apf_mem_destroy(m);
	}
}

static int third_zero(uint64_t page, unsigned int attempt)
{
	return page / 64 % 3 ? APF_IO_ZERO : 0;
}

static void test_zero_pages_stay_holes(void **state)
{
	char page[page_size];
	struct results r;
	struct apf_mem *m;
	struct stat st;

	fake.result = third_zero;
	m = ram_on(NULL, PAGES, APF_TRAP_POISON, &r);
	for (uint64_t n = 0; n + 128 <= PAGES; n += 192)
		assert_int_equal(need(m, n, 128), 0);
	open_out();
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
	for (uint64_t n = 0; n < PAGES; n++) {
		read_saved(n, page);
		assert_true(n / 64 % 3 ? fake_is_zero(page) : fake_is_page(page, n));
	}
	assert_int_equal(fstat(out, &st), 0);
	assert_int_equal(st.st_size, PAGES * page_size);
	assert_true((uint64_t)st.st_blocks * 512 < PAGES * page_size / 2);
	close_out();
	apf_mem_destroy(m);
}

static void test_what_was_written_since_is_saved(void **state)
{
	static const enum apf_trap traps[] = { APF_TRAP_NONE, APF_TRAP_POISON };

	for (int i = 0; i < 2; i++) {
		char page[64], mine[] = "written by the guest";
		struct results r;
		struct apf_mem *m;

		fake_reset(NULL);
		m = ram_on(NULL, PAGES, traps[i], &r);
		assert_int_equal(need(m, 77, 2), 0);
		assert_int_equal(apf_mem_write(m, 78 * page_size - 5, mine, sizeof(mine)), 0);
		open_out();
		assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
		assert_int_equal(pread(out, page, sizeof(mine), 78 * page_size - 5),
				 sizeof(mine));
		assert_string_equal(page, mine);
		close_out();
		apf_mem_destroy(m);
	}
}

static void test_RAM_without_a_trap_that_was_hardly_touched_saves_fast_and_small(void **state)
{
	uint64_t last = (8ull << 30) / page_size - 1;
	struct apf_mem *m = ram_on(NULL, last + 1, APF_TRAP_NONE, NULL);
	char page[page_size], *a = apf_mem_view_a(m);
	struct stat st;

	fake_fill(a + 3000 * page_size, 3000);
	fake_fill(a + last * page_size, last);
	open_out();
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
	read_saved(3000, page);
	assert_true(fake_is_page(page, 3000));
	read_saved(last, page);
	assert_true(fake_is_page(page, last));
	assert_int_equal(fstat(out, &st), 0);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_int_equal(fstat(apf_mem_fd(m), &st), 0);
	assert_true(st.st_blocks * 512 < 1 << 20);	/* looking did not allocate */
	close_out();
	apf_mem_destroy(m);
}

static int two_fail(uint64_t page, unsigned int attempt)
{
	return attempt <= 2 ? -EIO : 0;
}

static void test_a_store_that_recovers_does_not_fail_the_save(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retry_ns = MS / 10,
	};
	char page[page_size];
	struct results r;
	struct apf_mem *m;

	fake.result = two_fail;
	m = ram_with(cfg, NULL, &r);
	open_out();
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
	for (uint64_t n = 0; n < PAGES; n++) {
		read_saved(n, page);
		assert_true(fake_is_page(page, n));
	}
	close_out();
	apf_mem_destroy(m);
}

static int one_bad(uint64_t page, unsigned int attempt)
{
	return page == 2500 ? -EIO : 0;
}

static void test_a_page_that_cannot_be_read_fails_the_save_and_is_named(void **state)
{
	struct apf_mem_config cfg = {
		.size = PAGES * page_size, .trap = APF_TRAP_POISON, .retry_ns = MS / 10,
		.retries = 2,
	};
	unsigned int run = (256u << 10) / page_size, first = 2500 / run * run;
	struct results r;
	struct apf_mem *m;
	char text[64];

	fake.result = one_bad;
	m = ram_with(cfg, NULL, &r);
	open_out();
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), -EIO);
	snprintf(text, sizeof(text), "pages %u to %u,", first * SMALL, (first + run) * SMALL - 1);
	assert_non_null(strstr(apf_error(), text));
	assert_non_null(strstr(apf_error(), "Input/output error"));
	close_out();
	apf_mem_destroy(m);
}

static void test_a_file_that_is_not_empty_or_full_is_refused(void **state)
{
	struct apf_mem *m = ram_on(NULL, PAGES, APF_TRAP_NONE, NULL);
	int full = open("/dev/full", O_WRONLY);

	open_out();
	assert_int_equal(write(out, "x", 1), 1);
	assert_int_equal(apf_mem_save(m, out, NULL, NULL), -EEXIST);
	assert_non_null(strstr(apf_error(), "not empty"));
	assert_true(apf_mem_save(m, full, NULL, NULL) < 0);
	assert_true(apf_mem_save(m, -1, NULL, NULL) < 0);
	close(full);
	close_out();
	apf_mem_destroy(m);
}

static void *save_in_thread(void *m)
{
	return (void *)(intptr_t)apf_mem_save(m, out, NULL, NULL);
}

static void test_as_many_reads_at_once_as_fetches_may_be(void **state)
{
	static const unsigned int limits[] = { 0, 8 };
	const unsigned int runs = PAGES / ((256u << 10) / page_size);

	for (int i = 0; i < 2; i++) {
		struct apf_mem_config cfg = {
			.size = PAGES * page_size, .trap = APF_TRAP_POISON, .max_fetches = limits[i],
		};
		struct apf_mem *m;
		pthread_t t;
		void *r;

		fake_reset(NULL);
		m = ram_with(cfg, NULL, NULL);
		open_out();
		fake.hold = true;
		pthread_create(&t, NULL, save_in_thread, m);
		fake_wait_running(limits[i] ? limits[i] : runs);
		fake_release();
		pthread_join(t, &r);
		assert_null(r);
		assert_true(!limits[i] || fake.most_running <= limits[i]);
		close_out();
		apf_mem_destroy(m);
	}
}

static void test_a_store_that_can_copies_what_is_not_here_itself(void **state)
{
	char page[page_size];
	struct apf_mem *m;

	fake.copies = true;
	m = ram_on(NULL, PAGES, APF_TRAP_POISON, NULL);
	assert_int_equal(need(m, 100, 50), 0);
	fake.requests = 0;
	memset(&seen, 0, sizeof(seen));
	open_out();
	assert_int_equal(apf_mem_save(m, out, progress, NULL), 0);
	assert_int_equal(fake.requests, 0);
	assert_int_equal(fake.copied, PAGES - 50);
	assert_int_equal(seen.last, PAGES * page_size);
	for (uint64_t n = 0; n < PAGES; n++) {
		read_saved(n, page);
		assert_true(fake_is_page(page, n));
	}
	close_out();
	apf_mem_destroy(m);
}

static void test_a_file_is_saved_with_its_holes_to_any_file_system(void **state)
{
	static const char *const dirs[] = { ".", "/dev/shm" };

	for (int i = 0; i < 2; i++) {
		char path[64], spec[100], page[page_size];
		int fd = fake_file(dirs[i], path, PAGES / 4);
		struct apf_mem *m;
		struct stat st;

		assert_int_equal(ftruncate(fd, PAGES * page_size), 0);
		snprintf(spec, sizeof(spec), "file:%s", path);
		m = ram_on(spec, PAGES, APF_TRAP_POISON, NULL);
		assert_int_equal(need(m, 10, 20), 0);
		open_out();
		assert_int_equal(apf_mem_save(m, out, NULL, NULL), 0);
		for (uint64_t n = 0; n < PAGES; n++) {
			read_saved(n, page);
			assert_true(n < PAGES / 4 ? fake_is_page(page, n) : fake_is_zero(page));
		}
		assert_int_equal(fstat(out, &st), 0);
		assert_true((uint64_t)st.st_blocks * 512 < PAGES * page_size / 2);
		close_out();
		apf_mem_destroy(m);
		close(fd);
		unlink(path);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_half_resident_RAM_is_saved_as_it_is_in_the_store),
		TEST(test_zero_pages_stay_holes),
		TEST(test_what_was_written_since_is_saved),
		TEST(test_RAM_without_a_trap_that_was_hardly_touched_saves_fast_and_small),
		TEST(test_a_store_that_recovers_does_not_fail_the_save),
		TEST(test_a_page_that_cannot_be_read_fails_the_save_and_is_named),
		TEST(test_a_file_that_is_not_empty_or_full_is_refused),
		TEST(test_as_many_reads_at_once_as_fetches_may_be),
		TEST(test_a_store_that_can_copies_what_is_not_here_itself),
		TEST(test_a_file_is_saved_with_its_holes_to_any_file_system),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
