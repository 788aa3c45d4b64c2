/* SPDX-License-Identifier: MIT */
/* The filters: latency really delays and overlaps, errors are the ones asked for, stats count. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive.h"

#define PAGES	256u
#define MS	1000000ull

static char path[64];
static int file_fd;
static char *buf;

static int group_setup(void **state)
{
	buf = aligned_alloc(APF_PAGE_SIZE, PAGES * APF_PAGE_SIZE);
	memset(buf, 'a', PAGES * APF_PAGE_SIZE);
	file_fd = make_file("/dev/shm", path, buf, PAGES * APF_PAGE_SIZE);
	return 0;
}

static int group_teardown(void **state)
{
	close(file_fd);
	unlink(path);
	free(buf);
	return 0;
}

static void open_filters(struct drive *d, const char *filters)
{
	char spec[200];

	snprintf(spec, sizeof(spec), "%s,file:%s", filters, path);
	drive_open(d, spec);
}

/* Every page once, all at the same time. */
static void read_all(struct drive *d, struct request *r)
{
	memset(r, 0, PAGES * sizeof(*r));
	for (unsigned int i = 0; i < PAGES; i++) {
		r[i].io.offset = i * APF_PAGE_SIZE;
		r[i].io.len = APF_PAGE_SIZE;
		r[i].io.buf = buf + i * APF_PAGE_SIZE;
	}
	drive_run(d, r, PAGES);
}

static void test_latency_delays_each_read_and_many_overlap(void **state)
{
	static struct request r[PAGES];
	uint64_t before = apf_clock_ns();
	struct drive d;

	open_filters(&d, "latency:30ms");
	read_all(&d, r);
	for (unsigned int i = 0; i < PAGES; i++) {
		assert_int_equal(r[i].res, 0);
		assert_true(r[i].ended_ns - r[i].began_ns >= 30 * MS);
	}
	assert_true(apf_clock_ns() - before < 20 * 30 * MS);	/* not 256 times */
	drive_close(&d);
}

static void test_uniform_latency_stays_in_its_range_and_follows_its_seed(void **state)
{
	static const char *const filters[] = {
		"latency:10ms-30ms:seed=5", "latency:10ms-30ms:seed=5", "latency:10ms-30ms:seed=6",
	};
	static struct request r[PAGES];
	uint64_t delay[3][PAGES], low = UINT64_MAX, high = 0;

	for (int round = 0; round < 3; round++) {
		struct drive d;

		open_filters(&d, filters[round]);
		read_all(&d, r);
		for (unsigned int i = 0; i < PAGES; i++) {
			delay[round][i] = r[i].timer_ns;
			assert_true(r[i].ended_ns - r[i].began_ns >= r[i].timer_ns);
		}
		drive_close(&d);
	}
	for (unsigned int i = 0; i < PAGES; i++) {
		low = delay[0][i] < low ? delay[0][i] : low;
		high = delay[0][i] > high ? delay[0][i] : high;
	}
	assert_true(low >= 10 * MS && low < 11 * MS);
	assert_true(high <= 30 * MS && high > 29 * MS);
	assert_memory_equal(delay[0], delay[1], sizeof(delay[0]));
	assert_memory_not_equal(delay[0], delay[2], sizeof(delay[0]));
}

static unsigned int failed(const struct request *r, int err)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < PAGES; i++) {
		assert_true(r[i].res == 0 || r[i].res == err);
		n += r[i].res < 0;
	}
	return n;
}

static void test_errors_come_at_the_rate_and_for_the_pages_asked_for(void **state)
{
	static const struct {
		const char *filter;
		int err;
		unsigned int min, max;
	} rows[] = {
		{ "error", -EIO, 256, 256 },
		{ "error:rate=0", -EIO, 0, 0 },
		{ "error:rate=0.25:seed=9", -EIO, 40, 90 },
		{ "error:pages=16-31", -EIO, 16, 16 },
		{ "error:pages=250-999:errno=ETIMEDOUT", -ETIMEDOUT, 6, 6 },
	};
	static struct request r[PAGES];

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct drive d;
		unsigned int n;

		open_filters(&d, rows[i].filter);
		read_all(&d, r);
		n = failed(r, rows[i].err);
		if (n < rows[i].min || n > rows[i].max)
			fail_msg("%s: %u failed", rows[i].filter, n);
		if (r[16].res < 0)
			assert_non_null(strstr(r[16].error, "injected"));
		drive_close(&d);
	}
}

static void test_the_first_attempts_of_each_page_fail_then_it_recovers(void **state)
{
	static const unsigned int expected[] = { 256, 256, 256, 0, 0 };
	static struct request r[PAGES];
	struct drive d;

	open_filters(&d, "error:first=3");
	for (unsigned int i = 0; i < 5; i++) {
		read_all(&d, r);
		assert_int_equal(failed(r, -EIO), expected[i]);
	}
	drive_close(&d);
}

static void test_a_read_of_many_pages_fails_if_one_of_them_does(void **state)
{
	struct request r;
	struct drive d;

	open_filters(&d, "error:pages=20-20");
	assert_int_equal(drive_read(&d, 16, 4, buf, &r), 0);
	assert_int_equal(drive_read(&d, 16, 5, buf, &r), -EIO);
	drive_close(&d);
}

static void test_stats_count_requests_pages_zeroes_and_errors(void **state)
{
	char hole[64], spec[200], json[1024];
	struct request r;
	struct drive d;
	int fd = make_file("/dev/shm", hole, "x", 1), n;

	assert_int_equal(ftruncate(fd, 64 * APF_PAGE_SIZE), 0);
	snprintf(spec, sizeof(spec), "stats,latency:50ms,error:pages=40-40,file:%s", hole);
	drive_open(&d, spec);
	assert_int_equal(drive_read(&d, 0, 1, buf, &r), 0);
	assert_int_equal(drive_read(&d, 8, 8, buf, &r), APF_IO_ZERO);
	assert_int_equal(drive_read(&d, 40, 1, buf, &r), -EIO);
	n = d.store->ops->stats(d.store, json, sizeof(json));
	assert_int_equal(n, strlen(json));
	assert_string_equal(strtok(json, "["), "{\"requests\": 3, \"pages\": 9, "
			    "\"zero_pages\": 8, \"errors\": 1, \"latency_log2_us\": ");
	/*
	 * Nothing took less than 16 ms (the loop's clock is of the turn's begin, and a slow
	 * machine's turn is long): fifteen empty buckets come first.
	 */
	assert_memory_equal(json + strlen(json) + 1, "0, 0, 0, 0, 0, 0, 0, 0, "
			    "0, 0, 0, 0, 0, 0, 0, ", 45);
	assert_int_equal(d.store->ops->stats(d.store, json, 10), n);	/* too small: cut */
	assert_int_equal(strlen(json), 9);
	drive_close(&d);
	close(fd);
	unlink(hole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency_delays_each_read_and_many_overlap),
		cmocka_unit_test(test_uniform_latency_stays_in_its_range_and_follows_its_seed),
		cmocka_unit_test(test_errors_come_at_the_rate_and_for_the_pages_asked_for),
		cmocka_unit_test(test_the_first_attempts_of_each_page_fail_then_it_recovers),
		cmocka_unit_test(test_a_read_of_many_pages_fails_if_one_of_them_does),
		cmocka_unit_test(test_stats_count_requests_pages_zeroes_and_errors),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
