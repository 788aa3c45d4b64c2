/* SPDX-License-Identifier: MIT */
/* The control socket's file: nothing that is not a dead socket, or ours, is removed. */
#include "test_vm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <apf/error.h>
#include <vmm/control.h>

static int set_up(void **state)
{
	return make_folder();
}

/* Fails if something was left behind. */
static int tear_down(void **state)
{
	return remove_folder();
}

static struct control control;

static int open_control(const char *name)
{
	return control_open(&control, NULL, in_folder(name), 0);
}

/* A socket file; listen on it, or leave it as a process that died does. */
static int make_socket(const char *name, bool listens)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, in_folder(name));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	if (!listens) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool is_socket(const char *name)
{
	struct stat st;

	return !lstat(in_folder(name), &st) && S_ISSOCK(st.st_mode);
}

static void check_file(const char *name)
{
	void *bytes;
	size_t len;

	check(vmm_read_file(in_folder(name), 100, &bytes, &len));
	assert_int_equal(len, 5);
	free(bytes);
	unlink(in_folder(name));
}

static void test_a_regular_file_stays(void **state)
{
	write_file(in_folder("c"), "mine!", 5);
	assert_int_equal(open_control("c"), -EEXIST);
	assert_non_null(strstr(apf_error(), in_folder("c")));
	control_close(&control);
	check_file("c");
}

static void test_files_with_similar_names_stay(void **state)
{
	write_file(in_folder("c.new"), "mine!", 5);
	check(open_control("c"));
	assert_true(is_socket("c"));
	control_close(&control);
	assert_int_not_equal(access(in_folder("c"), F_OK), 0);
	check_file("c.new");
}

static void test_a_dead_socket_is_replaced(void **state)
{
	make_socket("c", false);
	check(open_control("c"));
	assert_true(is_socket("c"));
	control_close(&control);
	assert_int_not_equal(access(in_folder("c"), F_OK), 0);
}

static void test_a_socket_that_is_listened_on_stays(void **state)
{
	int fd = make_socket("c", true);

	assert_int_equal(open_control("c"), -EEXIST);
	control_close(&control);
	assert_true(is_socket("c"));
	close(fd);
	unlink(in_folder("c"));
}

static void test_at_the_end_only_our_own_socket_is_removed(void **state)
{
	check(open_control("c"));
	unlink(in_folder("c"));
	write_file(in_folder("c"), "mine!", 5);
	control_close(&control);
	check_file("c");
	check(open_control("c"));
	unlink(in_folder("c"));
	make_socket("c", false);
	control_close(&control);
	assert_true(is_socket("c"));
	unlink(in_folder("c"));
}

static void test_only_the_owner_can_connect(void **state)
{
	const mode_t mask = umask(0);
	struct stat st;

	check(open_control("c"));
	umask(mask);
	assert_int_equal(lstat(in_folder("c"), &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	control_close(&control);
}

/* What poll would be asked: is the socket among it? */
static bool is_listening(void)
{
	struct pollfd fds[1 + CONTROL_CLIENTS];
	const unsigned int n = control_fds(&control, fds);

	for (unsigned int i = 0; i < n; i++)
		if (fds[i].fd == control.listen_fd)
			return true;
	return false;
}

static void serve(void)
{
	struct pollfd fds[1 + CONTROL_CLIENTS];
	const unsigned int n = control_fds(&control, fds);

	poll(fds, n, 1000);
	control_serve(&control, fds, n);
}

static void test_without_descriptors_for_a_client_nothing_spins(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct rlimit old, none;

	check(open_control("c"));
	strcpy(a.sun_path, in_folder("c"));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	serve();
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(control.clients[0].fd, -1);
	assert_false(is_listening());
	while (!is_listening())		/* not for ever */
		usleep(1000);
	serve();
	assert_int_not_equal(control.clients[0].fd, -1);
	close(fd);
	control_close(&control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_regular_file_stays),
		cmocka_unit_test(test_files_with_similar_names_stay),
		cmocka_unit_test(test_a_dead_socket_is_replaced),
		cmocka_unit_test(test_a_socket_that_is_listened_on_stays),
		cmocka_unit_test(test_at_the_end_only_our_own_socket_is_removed),
		cmocka_unit_test(test_only_the_owner_can_connect),
		cmocka_unit_test(test_without_descriptors_for_a_client_nothing_spins),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
