/* SPDX-License-Identifier: MIT */
/* The guest's output and a reader that does not read: nothing waits, nothing is lost silently. */
#include "test_vmm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vmm/console.h>

#define HANGS_S	20	/* what waits for a reader that never comes is ended by SIGALRM */

static struct vmm_console console;
static int ends[2];

static int set_up(void **state)
{
	struct vmm_console_config to_pipe = { 0 };

	if (pipe(ends))
		return -1;
	to_pipe.out_fd = ends[1];
	alarm(HANGS_S);
	return vmm_console_init(&console, &to_pipe);
}

static int tear_down(void **state)
{
	alarm(0);
	vmm_console_destroy(&console);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* 16 bytes each: "line 0000000000\n" with its number. */
#define LINE	16u

static void put_lines(unsigned int from, unsigned int to)
{
	char text[LINE + 1];

	for (; from < to; from++) {
		snprintf(text, sizeof(text), "line %010u\n", from);
		for (unsigned int i = 0; i < LINE; i++)
			vmm_console_put(&console, text[i]);
	}
}

/* All that comes while the console has something to write; zero-terminated. */
static char *read_all(size_t *len)
{
	const size_t room = 8u << 20;
	char *text = malloc(room);
	ssize_t n;

	*len = 0;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	do {
		vmm_console_flush(&console);
		while ((n = read(ends[0], text + *len, room - *len - 1)) > 0)
			*len += (size_t)n;
	} while (vmm_console_waits_for(&console) >= 0);
	text[*len] = '\0';
	return text;
}

static void test_a_slow_reader_gets_every_byte(void **state)
{
	const unsigned int lines = VMM_OUT_MAX / 2 / LINE;
	char *text, want[LINE + 1];
	size_t len;

	put_lines(0, lines);
	text = read_all(&len);
	assert_int_equal(len, lines * LINE);
	for (unsigned int i = 0; i < lines; i++) {
		snprintf(want, sizeof(want), "line %010u\n", i);
		assert_memory_equal(text + i * LINE, want, LINE);
	}
	free(text);
}

static void test_what_does_not_fit_is_dropped_and_counted(void **state)
{
	const unsigned int lines = 3 * VMM_OUT_MAX / LINE;
	uint64_t dropped;
	size_t len, whole;
	char *text, *note;

	put_lines(0, lines);
	text = read_all(&len);
	note = strstr(text, "\n[apf: ");
	assert_non_null(note);
	assert_int_equal(sscanf(note, "\n[apf: %" SCNu64 " bytes", &dropped), 1);
	whole = (size_t)(note - text);
	assert_in_range(whole, VMM_OUT_MAX / 2, 2 * VMM_OUT_MAX);
	assert_int_equal(whole + dropped, lines * LINE);
	free(text);
	/* From now on all is as before. */
	put_lines(7, 8);
	text = read_all(&len);
	assert_string_equal(text, "line 0000000007\n");
	free(text);
}

static void test_the_other_users_of_the_pipe_keep_its_flags(void **state)
{
	put_lines(0, 1);
	assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
}

static void test_a_reader_that_has_gone_is_no_news_for_ever(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	put_lines(0, 2 * VMM_OUT_MAX / LINE);
	assert_true(vmm_console_waits_for(&console) >= 0);
	close(ends[0]);
	vmm_console_flush(&console);
	vmm_console_flush(&console);
	assert_int_equal(vmm_console_waits_for(&console), -1);
	ends[0] = -1;
}

static void test_draining_gives_up(void **state)
{
	put_lines(0, VMM_OUT_MAX / LINE);
	vmm_console_drain(&console, 10);
	assert_true(vmm_console_waits_for(&console) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_slow_reader_gets_every_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_dropped_and_counted, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_the_other_users_of_the_pipe_keep_its_flags, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_reader_that_has_gone_is_no_news_for_ever, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_draining_gives_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
