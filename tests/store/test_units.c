/* SPDX-License-Identifier: MIT */
/* Durations, sizes and numbers as people write them. */
#include <errno.h>
#include <stddef.h>

#include "drive.h"
#include "store/builtin.h"

#define OLD	77u	/* must stay when the text is refused */

struct row {
	const char *text;
	int result;
	uint64_t value;
};

static void check(const struct row *row, int (*parse)(const char *, uint64_t *))
{
	for (; row->text; row++) {
		uint64_t value = OLD;
		int r = parse(row->text, &value);

		if (r != row->result || value != (r ? OLD : row->value))
			fail_msg("\"%s\": %d, %lu", row->text, r, value);
	}
}

static void test_durations(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 }, { "7", 0, 7 }, { "7ns", 0, 7 }, { "500us", 0, 500000 },
		{ "20ms", 0, 20000000 }, { "2s", 0, 2000000000 },
		{ "", -EINVAL, 0 }, { "ms", -EINVAL, 0 }, { "-1ms", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 }, { " 1", -EINVAL, 0 }, { "1 ms", -EINVAL, 0 },
		{ "1.5ms", -EINVAL, 0 }, { "1m", -EINVAL, 0 }, { "1msx", -EINVAL, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -EINVAL, 0 }, { "18446744073709551615us", -EINVAL, 0 },
		{ 0 },
	};

	check(rows, apf_parse_duration);
}

static void test_sizes(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 }, { "4096", 0, 4096 }, { "512K", 0, 512u << 10 },
		{ "256M", 0, 256u << 20 }, { "8G", 0, 8ull << 30 }, { "1T", 0, 1ull << 40 },
		{ "", -EINVAL, 0 }, { "G", -EINVAL, 0 }, { "8g", -EINVAL, 0 },
		{ "8GB", -EINVAL, 0 }, { "-8G", -EINVAL, 0 }, { "0x10", -EINVAL, 0 },
		{ "99999999999999999999", -ERANGE, 0 }, { "18014398509481984K", -ERANGE, 0 },
		{ 0 },
	};

	check(rows, apf_parse_size);
}

static void test_numbers_have_no_unit(void **state)
{
	static const struct row rows[] = {
		{ "12", 0, 12 }, { "12K", -EINVAL, 0 }, { "12ms", -EINVAL, 0 }, { 0 },
	};

	check(rows, apf_parse_number);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_numbers_have_no_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
