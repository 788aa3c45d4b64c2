/* SPDX-License-Identifier: MIT */
/* Specifications: what opens, what is refused with which words, how stores stack. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>

#include "drive.h"

static void test_refused_with_a_reason(void **state)
{
	static const struct {
		const char *spec, *says;
		int err;
	} rows[] = {
		{ "", "no store or filter", -EINVAL },
		{ "floppy:x", "\"floppy\"", -EINVAL },
		{ "file", "needs a path", -EINVAL },
		{ "file:", "needs a path", -EINVAL },
		{ "file:/nowhere/at all", "/nowhere/at all", -ENOENT },
		{ "file:/dev/null", "neither a regular file nor a block device", -EINVAL },
		{ "zero:64M", "takes no argument", -EINVAL },
		{ "latency:20ms", "needs a store behind it", -EINVAL },
		{ "latency:20ms,", "no store or filter", -EINVAL },
		{ "latency,file:PATH", "is not D or MIN-MAX", -EINVAL },
		{ "latency:20,ms,file:PATH", "no store or filter", -EINVAL },
		{ "latency:fast,file:PATH", "\"fast\"", -EINVAL },
		{ "latency:9ms-1ms,file:PATH", "\"9ms-1ms\"", -EINVAL },
		{ "latency:1ms:sed=4,file:PATH", "latency", -EINVAL },
		{ "error:rate=1.5,file:PATH", "\"rate=1.5\"", -EINVAL },
		{ "error:rate=,file:PATH", "\"rate=\"", -EINVAL },
		{ "error:rate=nan,file:PATH", "\"rate=nan\"", -EINVAL },
		{ "error:first=0,file:PATH", "\"first=0\"", -EINVAL },
		{ "error:pages=7,file:PATH", "\"pages=7\"", -EINVAL },
		{ "error:pages=7-3,file:PATH", "\"pages=7-3\"", -EINVAL },
		{ "error:errno=EWHAT,file:PATH", "\"errno=EWHAT\"", -EINVAL },
		{ "stats:x,file:PATH", "no argument", -EINVAL },
		{ "stats,stats,stats,stats,stats,stats,stats,stats,file:PATH", "more than 8",
		  -EINVAL },
	};
	char path[64], spec[256];
	int fd = make_file(".", path, "x", 1);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct apf_store *s = NULL;
		const char *p = strstr(rows[i].spec, "PATH");
		int r;

		snprintf(spec, sizeof(spec), "%.*s%s", p ? (int)(p - rows[i].spec) : 200,
			 rows[i].spec, p ? path : "");
		r = apf_store_open(spec, &s);
		if (r != rows[i].err || s || !strstr(apf_error(), rows[i].says))
			fail_msg("%s: %d, \"%s\"", spec, r, apf_error());
	}
	close(fd);
	unlink(path);
}

static void test_filters_stack_from_left_to_right_and_inherit_the_size(void **state)
{
	char path[64], spec[256];
	char bytes[3 * APF_PAGE_SIZE] = { 0 };
	int fd = make_file(".", path, bytes, sizeof(bytes));
	const char *names[] = { "stats", "latency", "error", "stats", "file" };
	struct apf_store *s, *at;

	snprintf(spec, sizeof(spec), "stats,latency:1ms-2ms:seed=3,"
		 "error:rate=0.5:seed=1:first=2:pages=0-9:errno=ENOMEM,stats,file:%s", path);
	assert_int_equal(apf_store_open(spec, &s), 0);
	at = s;
	for (int i = 0; i < 5; i++, at = at->below) {
		assert_string_equal(at->ops->name, names[i]);
		assert_int_equal(at->size, sizeof(bytes));
	}
	assert_null(at);
	apf_store_close(s);
	close(fd);
	unlink(path);
}

static void test_a_path_may_contain_commas_and_colons(void **state)
{
	char path[64], odd[] = "./apf,a:b,c";
	int fd = make_file(".", path, "x", 1);
	struct apf_store *s;

	assert_int_equal(rename(path, odd), 0);
	assert_int_equal(apf_store_open("stats,file:./apf,a:b,c", &s), 0);
	apf_store_close(s);
	close(fd);
	unlink(odd);
}

static void test_every_page_of_zero_is_known_to_be_zero(void **state)
{
	const uint64_t pages[] = { 0, 12345678 };
	char buf[4 * APF_PAGE_SIZE] = "untouched";
	struct request r;
	struct drive d;

	drive_open(&d, "zero:");
	for (int i = 0; i < 2; i++) {
		assert_true(d.store->size > (pages[i] + 4) * APF_PAGE_SIZE);
		assert_int_equal(drive_read(&d, pages[i], 4, buf, &r), APF_IO_ZERO);
	}
	assert_string_equal(buf, "untouched");
	drive_close(&d);
}

static int open_any(struct apf_store *s, const char *arg)
{
	s->size = 42;
	return 0;
}

static void close_any(struct apf_store *s)
{
}

static void test_stores_of_others_can_be_registered(void **state)
{
	static struct apf_store_ops ops = {
		.version = APF_STORE_VERSION + 1, .name = "mine", .open = open_any,
		.close = close_any,
	};
	struct apf_store *s;

	assert_int_equal(apf_store_register(&ops), -EINVAL);
	assert_non_null(strstr(apf_error(), "version"));
	ops.version = APF_STORE_VERSION;
	assert_int_equal(apf_store_register(&ops), 0);
	assert_int_equal(apf_store_register(&ops), -EEXIST);
	assert_int_equal(apf_store_open("stats,mine", &s), 0);
	assert_int_equal(s->size, 42);
	apf_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_with_a_reason),
		cmocka_unit_test(test_filters_stack_from_left_to_right_and_inherit_the_size),
		cmocka_unit_test(test_a_path_may_contain_commas_and_colons),
		cmocka_unit_test(test_every_page_of_zero_is_known_to_be_zero),
		cmocka_unit_test(test_stores_of_others_can_be_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
