/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own worker threads. They are used for files that it cannot read
 * asynchronously (tmpfs here); to see how many it may start, all of them are made
 * to block, on memory that a userfaultfd guards.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include <apf/error.h>

#include "drive.h"

#define BLOCKED		64u
#define WORKERS		4u

static struct region {
	char *at;
	int uffd;
	unsigned int workers;
} region;

static struct {
	struct apf_loop *loop;
	struct apf_loop_op op[BLOCKED];
	unsigned int left, wrong;
} reads;

static bool no_turn(void *ctx)
{
	return false;
}

static void one_read(struct apf_loop_op *op, int res)
{
	reads.wrong += res != APF_PAGE_SIZE;
	if (!--reads.left)
		apf_loop_stop(reads.loop);
}

/* By name, since a sanitizer may have threads of its own. */
static bool is_worker(const char *task)
{
	char path[300], name[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task);
	fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	close(fd);
	return !strncmp(name, "iou-wrk", 7);
}

static unsigned int count_workers(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned int n = 0;
	struct dirent *e;

	while ((e = readdir(d)))
		n += is_worker(e->d_name);
	closedir(d);
	return n;
}

static void *count_then_let_go(void *arg)
{
	struct uffdio_range range = { (uintptr_t)region.at, BLOCKED * APF_PAGE_SIZE };

	usleep(300000);
	region.workers = count_workers();
	ioctl(region.uffd, UFFDIO_UNREGISTER, &range);
	return NULL;
}

/* Memory whose every page blocks who touches it, the kernel too. */
static bool make_region(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	region.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (region.uffd < 0 || ioctl(region.uffd, UFFDIO_API, &api))
		return false;
	region.at = mmap(NULL, BLOCKED * APF_PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(region.at, BLOCKED * APF_PAGE_SIZE, MADV_NOHUGEPAGE);
	reg.range = (struct uffdio_range){ (uintptr_t)region.at, BLOCKED * APF_PAGE_SIZE };
	return !ioctl(region.uffd, UFFDIO_REGISTER, &reg);
}

static void test_V3_kernel_workers_do_not_grow_with_reads_that_block(void **state)
{
	const struct apf_loop_hooks hooks = { .turn = no_turn, .pending = no_turn };
	static char bytes[BLOCKED * APF_PAGE_SIZE];
	char path[64];
	int fd = make_file("/dev/shm", path, bytes, sizeof(bytes));
	pthread_t t;

	unlink(path);			/* so that a failure leaves nothing behind */
	if (apf_loop_create(&hooks, &reads.loop))
		fail_msg("%s", apf_error());
	reads.left = BLOCKED;
	for (unsigned int i = 0; i < BLOCKED; i++) {
		reads.op[i].fn = one_read;
		assert_int_equal(apf_loop_read(reads.loop, &reads.op[i], fd,
					       region.at + i * APF_PAGE_SIZE, APF_PAGE_SIZE,
					       (uint64_t)i * APF_PAGE_SIZE), 0);
	}
	pthread_create(&t, NULL, count_then_let_go, NULL);
	apf_loop_run(reads.loop);
	pthread_join(t, NULL);
	print_message("# %u reads blocked, %u workers\n", BLOCKED, region.workers);
	assert_true(region.workers > 0);	/* else nothing was tested */
	assert_true(region.workers <= WORKERS);
	assert_int_equal(reads.wrong, 0);
	apf_loop_destroy(reads.loop);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_V3_kernel_workers_do_not_grow_with_reads_that_block),
	};

	if (!make_region()) {
		printf("1..0 # SKIP userfaultfd that also serves kernel faults: %s\n",
		       strerror(errno));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
