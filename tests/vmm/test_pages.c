/* SPDX-License-Identifier: MIT */
/* Lists of pages: what is taken, and that what is not is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apf/error.h>

#include "vmm/pages.h"

#define RAM_PAGES 1000u

static int parse(const char *text, struct apf_mem_range **r, size_t *n)
{
	return vmm_pages_parse(text, strlen(text), RAM_PAGES, r, n);
}

static void test_a_list_is_taken_in_order(void **state)
{
	struct apf_mem_range *r;
	size_t n;

	assert_int_equal(parse("apf-pages 1\n0 1\n5 10\n15 1\n999 1\n", &r, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(r[1].page, 5);
	assert_int_equal(r[1].n, 10);
	assert_int_equal(r[3].page, 999);
	free(r);
	assert_int_equal(parse("apf-pages 1\n", &r, &n), 0);
	assert_int_equal(n, 0);
	free(r);
}

static void test_a_wrong_line_is_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "", "does not start" },
		{ "apf-pages 2\n", "does not start" },
		{ "apf-pages 1\n1 1\n1 1\n", "line 3" },
		{ "apf-pages 1\n5 2\n6 1\n", "line 3" },
		{ "apf-pages 1\n1000 1\n", "line 2" },
		{ "apf-pages 1\n999 2\n", "line 2" },
		{ "apf-pages 1\n1 0\n", "line 2" },
		{ "apf-pages 1\n1 18446744073709551615\n", "line 2" },
		{ "apf-pages 1\n99999999999999999999999 1\n", "line 2" },
		{ "apf-pages 1\n1 1", "line 2" },
		{ "apf-pages 1\n1  1\n", "line 2" },
		{ "apf-pages 1\n-1 1\n", "line 2" },
		{ "apf-pages 1\n1 1 \n", "line 2" },
		{ "apf-pages 1\n\n", "line 2" },
	};
	struct apf_mem_range *r;
	size_t n;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse(rows[i].text, &r, &n), -EINVAL);
		assert_non_null(strstr(apf_error(), rows[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_list_is_taken_in_order),
		cmocka_unit_test(test_a_wrong_line_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
