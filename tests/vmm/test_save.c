/* SPDX-License-Identifier: MIT */
/* Snapshots as folders: nothing that others have made is touched. Skipped without KVM. */
#include "test_vm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>
#include <vmm/vmm.h>

static const char *in_snapshot(const char *name, const char *file)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", in_folder(name), file);
	return path;
}

static void remove_snapshot(const char *name)
{
	unlink(in_snapshot(name, "state"));
	unlink(in_snapshot(name, "ram"));
	rmdir(in_folder(name));
}

static int set_up(void **state)
{
	return make_folder();
}

/* Fails if a test, or what it tests, has left a file. */
static int tear_down(void **state)
{
	remove_snapshot("snap");
	return remove_folder();
}

/* A VM that has not run yet, with deliveries frozen. */
static struct vmm *standing_vm(void)
{
	const struct vmm_config cfg = config("", 1);
	struct vmm *vm;

	check(vmm_create(&cfg, &vm));
	check(vmm_start(vm));
	apf_kvm_freeze(vmm_apf(vm), true);
	return vm;
}

static void check_is_whole(const char *name)
{
	static struct vmm_snapshot snap;
	struct stat st;
	void *bytes;
	size_t len;

	check(vmm_read_file(in_snapshot(name, "state"), VMM_SNAPSHOT_BYTES_MAX, &bytes, &len));
	check(vmm_snapshot_parse(bytes, len, &snap));
	free(bytes);
	assert_int_equal(stat(in_snapshot(name, "ram"), &st), 0);
	assert_int_equal(st.st_size, MEM);
	assert_int_equal(st.st_mode & 077, 0);
}

struct other {
	struct vmm *vm;
	bool saved;
};

static void save_other(void *arg, uint64_t done)
{
	struct other *o = arg;

	if (o->saved)
		return;
	o->saved = true;
	check(vmm_save(o->vm, in_folder("snap"), NULL, NULL));
}

static void test_of_two_that_save_to_one_name_the_first_one_done_keeps_it(void **state)
{
	struct other other = { .vm = standing_vm() };
	struct vmm *vm = standing_vm();

	assert_int_equal(vmm_save(vm, in_folder("snap"), save_other, &other), -EEXIST);
	assert_true(other.saved);
	assert_non_null(strstr(apf_error(), "exists already"));
	check_is_whole("snap");
	remove_snapshot("snap");
	vmm_destroy(vm);
	vmm_destroy(other.vm);
}

static void test_a_folder_that_others_made_is_not_adopted(void **state)
{
	struct vmm *vm = standing_vm();
	struct stat before, after;

	assert_int_equal(mkdir(in_folder("snap.tmp"), 0777), 0);
	write_file(in_snapshot("snap.tmp", "state"), "theirs", 6);
	assert_int_equal(stat(in_folder("snap.tmp"), &before), 0);
	check(vmm_save(vm, in_folder("snap"), NULL, NULL));
	check_is_whole("snap");
	assert_int_equal(stat(in_folder("snap.tmp"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(access(in_snapshot("snap.tmp", "state"), F_OK), 0);
	remove_snapshot("snap");
	remove_snapshot("snap.tmp");
	vmm_destroy(vm);
}

static void test_an_empty_folder_of_that_name_is_not_replaced(void **state)
{
	struct vmm *vm = standing_vm();

	assert_int_equal(mkdir(in_folder("snap"), 0700), 0);
	assert_int_equal(vmm_save(vm, in_folder("snap"), NULL, NULL), -EEXIST);
	vmm_destroy(vm);
}

static void test_slashes_at_the_end_of_the_name_mean_nothing(void **state)
{
	struct vmm *vm = standing_vm();

	remove_snapshot("snap");
	check(vmm_save(vm, in_folder("snap//"), NULL, NULL));
	check_is_whole("snap");
	remove_snapshot("snap");
	vmm_destroy(vm);
}

static void test_what_fails_leaves_nothing_behind(void **state)
{
	struct vmm *vm = standing_vm();

	assert_int_equal(vmm_save(vm, in_folder("none/snap"), NULL, NULL), -ENOENT);
	vmm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_two_that_save_to_one_name_the_first_one_done_keeps_it),
		cmocka_unit_test(test_a_folder_that_others_made_is_not_adopted),
		cmocka_unit_test(test_an_empty_folder_of_that_name_is_not_replaced),
		cmocka_unit_test(test_slashes_at_the_end_of_the_name_mean_nothing),
		cmocka_unit_test(test_what_fails_leaves_nothing_behind),
	};

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("1..0 # SKIP /dev/kvm: %s\n", strerror(errno));
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
