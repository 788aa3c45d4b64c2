/* SPDX-License-Identifier: MIT */
/* A multiboot guest on the machine's own KVM. Skipped without KVM. */
#include "test_vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const uint8_t test_multiboot_start[], test_multiboot_end[];

static int set_up(void **state)
{
	if (make_folder())
		return -1;
	write_file(in_folder("multiboot"), test_multiboot_start,
		   (size_t)(test_multiboot_end - test_multiboot_start));
	write_file(in_folder("module"), "content", sizeof("content"));
	return 0;
}

static int tear_down(void **state)
{
	unlink(in_folder("multiboot"));
	unlink(in_folder("module"));
	return remove_folder();
}

static void test_multiboot_guest_gets_command_line_and_module(void **state)
{
	static const char *const said[] = { "@apf entered", "@apf a=1 b", "@apf its text",
					    "@apf content" };
	const struct vmm_boot b = { .kernel = in_folder("multiboot"), .cmdline = "a=1 b", .nr_files = 1,
				    .files = { { .path = in_folder("module"), .text = "its text" } } };
	const struct vmm_config cfg = config("", 1);
	const struct vmm_mark *m;
	struct vmm *vm;

	check(vmm_create(&cfg, &vm));
	check(vmm_boot(vm, &b));
	check(vmm_start(vm));
	vmm_resume(vm);
	run_until(vm, NULL, VMM_END_DEBUG_EXIT);
	m = vmm_console_marks(vmm_console(vm));
	for (size_t i = 0; i < COUNT(said); i++, m = m->next) {
		assert_non_null(m);
		assert_string_equal(m->text, said[i]);
	}
	vmm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_multiboot_guest_gets_command_line_and_module),
	};

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("1..0 # SKIP /dev/kvm: %s\n", strerror(errno));
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
