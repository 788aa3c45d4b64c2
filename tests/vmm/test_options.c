/* SPDX-License-Identifier: MIT */
/* The command line: what is accepted, what is refused, and that numbers mean what they say. */
#include "test_vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/commands.h>
#include <apf/doctor.h>
#include <apf/stall.h>

/* Complaints go to stderr; keep the test's output readable. */
static int quiet(void **state)
{
	int fd = open("/dev/null", O_WRONLY);

	return dup2(fd, STDERR_FILENO) < 0;
}

static void test_escapes(void **state)
{
	static const struct {
		const char *text, *bytes;
		size_t len;
	} cases[] = {
		{ "", "", 0 }, { "go touch\\n", "go touch\n", 9 }, { "\\t\\r\\\\", "\t\r\\", 3 },
		{ "a\\0b", "a\0b", 3 }, { "\\x41\\xffz", "A\xffz", 3 },
	};
	static const char *const bad[] = { "\\", "\\q", "\\x4", "\\xzz", "ok\\" };
	size_t len;
	char *out;

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(unescape(cases[i].text, &out, &len), 0);
		assert_int_equal(len, cases[i].len);
		assert_memory_equal(out, cases[i].bytes, len);
		free(out);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(unescape(bad[i], &out, &len), -EINVAL);
}

static void test_numbers_and_seconds(void **state)
{
	static const char *const bad[] = { "", "x", "-1", "5x", " 5", "11",
					   "99999999999999999999" };
	static const char *const bad_seconds[] = { "", "x", "-1", "0", "1s", "nan", "inf", "1e10" };
	uint64_t v;

	assert_int_equal(parse_number("run", "--cpus", "10", 1, 10, &v), 0);
	assert_int_equal(v, 10);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(parse_number("run", "--cpus", bad[i], 1, 10, &v), EXIT_USAGE);
	assert_int_equal(parse_seconds("run", "--timeout", "1.5", &v), 0);
	assert_int_equal(v, 1500000000u);
	for (size_t i = 0; i < COUNT(bad_seconds); i++)
		assert_int_equal(parse_seconds("run", "--timeout", bad_seconds[i], &v), EXIT_USAGE);
}

static void test_options_of_a_vm(void **state)
{
	struct vm_options o = { 0 };

	assert_int_equal(vm_option(&o, OPT_DELIVERY, "sync", "run"), 0);
	assert_int_equal(o.delivery, APF_DELIVERY_SYNC);
	assert_int_equal(vm_option(&o, OPT_DELIVERY, "async", "run"), EXIT_USAGE);
	assert_int_equal(vm_option(&o, OPT_ABI, "2020", "run"), EXIT_USAGE);
	assert_int_equal(vm_option(&o, OPT_HALT, "wait", "run"), 0);
	assert_int_equal(o.halt, APF_HALT_WAIT);
	assert_int_equal(vm_option(&o, OPT_HALT, "no", "run"), EXIT_USAGE);
	assert_int_equal(vm_option(&o, OPT_UNTIL, "", "run"), EXIT_USAGE);
	assert_int_equal(vm_option(&o, OPT_OWN, "x", "run"), 1);
	for (unsigned int i = 0; i < MARKS_MAX; i++)
		assert_int_equal(vm_option(&o, OPT_MARK, "m", "run"), 0);
	assert_int_equal(vm_option(&o, OPT_MARK, "m", "run"), EXIT_USAGE);
}

static void check_serial(const struct vm_options *o, int fd)
{
	struct session s;

	assert_int_equal(session_open(&s, o, "run", 0), 0);
	assert_int_equal(s.serial_fd, fd);
}

static void test_defaults_keep_stdout_for_one_thing(void **state)
{
	struct vm_options serial = { 0 }, json = { .json = "-" }, both = { .json = "/tmp/apf-options.json" };

	vm_options_finish(&serial);
	vm_options_finish(&json);
	vm_options_finish(&both);
	assert_string_equal(serial.serial, "-");
	assert_string_equal(serial.marks[0], "@apf ");
	check_serial(&serial, STDOUT_FILENO);
	check_serial(&json, STDERR_FILENO);
	unlink("/tmp/apf-options.json");
	check_serial(&both, STDOUT_FILENO);
	assert_int_equal(unlink("/tmp/apf-options.json"), 0);	/* it can be written, as is known now */
}

static int call(int (*cmd)(int, char **, uint64_t), const char *const *words)
{
	char *argv[16] = { NULL };
	int argc = 0, code;

	for (; words[argc]; argc++)
		argv[argc] = strdup(words[argc]);
	optind = 0;
	code = cmd(argc, argv, 0);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return code;
}

static void test_what_the_machine_does_not_have_is_wrong_usage(void **state)
{
	const int kernel = vmm_machine.kernel_delivery ? 0 : EXIT_USAGE;
	struct vm_options o = { 0 };
	const char *name;

	assert_int_equal(vm_option(&o, OPT_DELIVERY, "kernel", "run"), kernel);
	for (uint32_t abi = 1; (name = apf_abi_name(abi)); abi++) {
		const bool there = vmm_snapshot_machine_has_abi(vmm_machine.kind, abi);

		assert_int_equal(vm_option(&o, OPT_ABI, name, "run"), there ? 0 : EXIT_USAGE);
		if (there)
			assert_int_equal(o.abi, abi);
	}
}

static void test_wrong_usage_ends_with_code_2(void **state)
{
	static const struct {
		int (*cmd)(int, char **, uint64_t);
		const char *words[8];
	} cases[] = {
		{ cmd_doctor, { "doctor", "--nonsense" } },
		{ cmd_doctor, { "doctor", "word" } },
		{ cmd_run, { "run" } },
		{ cmd_run, { "run", "--kernel" } },
		{ cmd_run, { "run", "--kernel", "k", "--mem", "1x" } },
		{ cmd_run, { "run", "--kernel", "k", "--mem", "1M" } },
		{ cmd_run, { "run", "--kernel", "k", "--cpus", "255" } },
		{ cmd_run, { "run", "--kernel", "k", "word" } },
		{ cmd_restore, { "restore", "--delivery", "user" } },
		{ cmd_run, { "run", "--kernel", "k", "--abi", "2020" } },
		{ cmd_restore, { "restore" } },
		{ cmd_run, { "run", "--kernel", "k", "--latency", "1ms" } },
		{ cmd_run, { "run", "--kernel", "k", "--trace", "t" } },
		{ cmd_run, { "run", "--lazy", "--kernel", "k", "--latency", "soon" } },
		{ cmd_run, { "run", "--lazy" } },
		{ cmd_restore, { "restore", "dir", "--delivery", "user", "--latency", "soon" } },
		{ cmd_restore, { "restore", "dir", "--delivery", "user", "--input", "\\q" } },
		{ cmd_snapshot, { "snapshot" } },
		{ cmd_snapshot, { "snapshot", "--control", "c" } },
		{ cmd_snapshot, { "snapshot", "--control", "c", "--to", "d", "--min-outstanding",
				  "x" } },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(call(cases[i].cmd, cases[i].words), EXIT_USAGE);
}

static void test_what_is_not_there_ends_with_code_1(void **state)
{
	static const char *const restore[] = { "restore", "/nonexistent", NULL };
	static const char *const snapshot[] = { "snapshot", "--control", "/nonexistent", "--to",
						"d", NULL };
	static const char *const show[] = { "snapshot", "--show", "/nonexistent", NULL };

	assert_int_equal(call(cmd_restore, restore), EXIT_ERROR);
	assert_int_equal(call(cmd_snapshot, snapshot), EXIT_ERROR);
	assert_int_equal(call(cmd_snapshot, show), EXIT_ERROR);
}

/* A host where these checks, and no others, found something missing. */
static struct doctor host_without(unsigned int a, unsigned int b)
{
	struct doctor d = { 0 };

	doctor_add(&d, "fine", true, FOR_RESTORE | FOR_USER | FOR_KERNEL, NULL, " ");
	doctor_add(&d, "first", !a, a, "mend the first", " ");
	doctor_add(&d, "second", !b, b, "mend the second", " ");
	return d;
}

static void test_delivery_by_itself_is_the_best_that_works_here(void **state)
{
	const enum apf_delivery next = vmm_machine.kernel_delivery ? APF_DELIVERY_KERNEL
								   : APF_DELIVERY_SYNC;
	const struct doctor all = host_without(0, 0), user = host_without(FOR_USER, 0);
	const struct doctor both = host_without(FOR_USER, FOR_KERNEL);
	const struct doctor numbers = host_without(FOR_NUMBERS, FOR_LINUX);
	char why[256];

	assert_int_equal(doctor_best(&all, APF_ABI_X86_INT, why, sizeof(why)), APF_DELIVERY_USER);
	assert_int_equal(doctor_best(&numbers, APF_ABI_X86_INT, why, sizeof(why)), APF_DELIVERY_USER);
	assert_int_equal(doctor_best(&user, APF_ABI_X86_INT, why, sizeof(why)), next);
	assert_non_null(strstr(why, "user lacks first here: mend the first"));
	assert_int_equal(doctor_best(&both, APF_ABI_X86_INT, why, sizeof(why)), APF_DELIVERY_SYNC);
	assert_int_equal(doctor_best(&user, APF_ABI_X86_2010, why, sizeof(why)), APF_DELIVERY_SYNC);
}

static void test_each_end_has_its_exit_code(void **state)
{
	assert_int_equal(exit_code(VMM_END_UNTIL, -1), 0);
	assert_int_equal(exit_code(VMM_END_POWEROFF, -1), 0);
	assert_int_equal(exit_code(VMM_END_STOP, -1), 0);
	assert_int_equal(exit_code(VMM_END_SIGNAL, -1), 1);
	assert_int_equal(exit_code(VMM_END_ERROR, -1), 1);
	assert_int_equal(exit_code(VMM_END_RESET, -1), 3);
	assert_int_equal(exit_code(VMM_END_CRASH, -1), 4);
	assert_int_equal(exit_code(VMM_END_TIMEOUT, -1), 5);
	assert_int_equal(exit_code(VMM_END_PAGE_LOST, -1), 6);
}

static void test_debug_exit_has_codes_of_its_own(void **state)
{
	static const struct {
		uint32_t value;
		int code;
	} cases[] = {
		{ 0, 8 }, { 1, 10 }, { 2, 12 }, { 3, 7 }, { 0x10, 33 }, { 127, 255 },
		{ 128, 8 }, { 0xffffffff, 255 },	/* of QEMU's code the parent sees 8 bits */
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(exit_code(VMM_END_DEBUG_EXIT, cases[i].value), cases[i].code);
	for (int64_t value = 0; value < 256; value++)
		assert_true(exit_code(VMM_END_DEBUG_EXIT, value) > EXIT_PAGE_LOST);
}

static void test_a_ready_that_is_not_taken_for_a_second_is_counted_once(void **state)
{
	const uint64_t s = 1000000000u;
	struct late l = { 0 };

	assert_false(late_look(&l, 0, 0, 1));		/* none */
	assert_false(late_look(&l, 7, 1, 5 * s));
	assert_false(late_look(&l, 7, 1, 6 * s - 1));
	assert_true(late_look(&l, 7, 1, 6 * s));
	assert_false(late_look(&l, 7, 1, 9 * s));
	assert_false(late_look(&l, 7, 2, 10 * s));	/* the same token, but another ready */
	assert_false(late_look(&l, 0, 2, 10 * s + 1));	/* taken */
	assert_false(late_look(&l, 7, 3, 12 * s));
	assert_true(late_look(&l, 7, 3, 13 * s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_ready_that_is_not_taken_for_a_second_is_counted_once),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_numbers_and_seconds),
		cmocka_unit_test(test_options_of_a_vm),
		cmocka_unit_test(test_defaults_keep_stdout_for_one_thing),
		cmocka_unit_test(test_what_the_machine_does_not_have_is_wrong_usage),
		cmocka_unit_test(test_wrong_usage_ends_with_code_2),
		cmocka_unit_test(test_what_is_not_there_ends_with_code_1),
		cmocka_unit_test(test_delivery_by_itself_is_the_best_that_works_here),
		cmocka_unit_test(test_each_end_has_its_exit_code),
		cmocka_unit_test(test_debug_exit_has_codes_of_its_own),
	};

	return cmocka_run_group_tests(tests, quiet, NULL);
}
