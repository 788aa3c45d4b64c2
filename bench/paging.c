/* SPDX-License-Identifier: MIT */
/*
 * What a fault costs the host itself, without a guest: a thread touches pages that
 * are not here, and the store has them in memory (tmpfs, or the page cache of the file
 * system that FOLDER lies on), so that nothing but our own work is measured. Against a plain blocking userfaultfd loop in the same run:
 * one thread that reads an event, reads the page, copies it in.
 *
 *	one		one thread touches, and waits for each page
 *	64 threads	64 threads touch, each waits for its page
 *	64 ahead	one thread touches 64 pages before the first has come (only with a trap
 *			that does not block)
 *
 * Wall time and CPU time (of the whole process) per fault in us, median of the runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/futex.h>
#include <linux/userfaultfd.h>

#include <apf/error.h>
#include <apf/memory.h>
#include <apf/store.h>

#define PAGES		16384u		/* of the host: 64 MiB if they have 4 KiB */
#define SIZE		((size_t)PAGES * page_size)
#define CHUNKS		(SIZE >> 21)
#define MANY		64u
#define MAX_RUNS	31

struct cost {
	double wall, cpu;		/* us per fault */
};

static uint32_t page_size;
static char path[200];
static int store_fd;
static uint32_t order[PAGES];		/* the pages in the order they are touched */
static char *ram;			/* what is touched */
static struct apf_mem *mem;
static _Atomic uint32_t arrived;	/* counts done calls; a futex */
static _Thread_local sigjmp_buf *skip_to;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "paging: %s: %s\n", what, why);
	unlink(path);
	exit(1);
}

static double now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void make_store(const char *dir)
{
	uint64_t page[page_size / 8];

	snprintf(path, sizeof(path), "%s/apf-paging-XXXXXX", dir);
	store_fd = mkstemp(path);
	if (store_fd < 0)
		die(path, strerror(errno));
	for (uint32_t n = 0; n < PAGES; n++) {
		order[n] = n;
		for (uint32_t i = 0; i < page_size / 8; i++)
			page[i] = n + 1;
		if (write(store_fd, page, page_size) != page_size)
			die(path, strerror(errno));
	}
	srand(1);
	for (uint32_t n = PAGES - 1; n; n--) {
		uint32_t k = (uint32_t)rand() % (n + 1), swap = order[n];

		order[n] = order[k];
		order[k] = swap;
	}
}

static void touch(uint32_t n)
{
	if (*(volatile uint64_t *)(ram + (size_t)n * page_size) != n + 1)
		die("a page", "holds wrong bytes");
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void on_done(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	atomic_fetch_add(&arrived, 1);
	futex(&arrived, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

static void wait_for(uint64_t page)
{
	for (;;) {
		uint32_t before = atomic_load(&arrived);

		if (apf_mem_resident(mem, page))
			return;
		futex(&arrived, FUTEX_WAIT_PRIVATE, before);
	}
}

/* The trapping thread's part of a fault. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uint64_t page = apf_mem_page_of(mem, info->si_addr);

	if (apf_mem_want(mem, page) < 0)
		die("want", "refused");
	if (skip_to)
		siglongjmp(*skip_to, 1);
	wait_for(page);
}

static void touch_all(void)
{
	for (uint32_t i = 0; i < PAGES; i++)
		touch(order[i]);
}

/* Returns behind the touch without the page. */
static void touch_and_go_on(uint32_t n)
{
	sigjmp_buf here;

	skip_to = &here;
	if (!sigsetjmp(here, 0))
		touch(n);
	skip_to = NULL;
}

static void touch_ahead(void)
{
	for (uint32_t i = 0; i < PAGES; i += MANY) {
		for (uint32_t k = i; k < i + MANY; k++)
			touch_and_go_on(order[k]);
		for (uint32_t k = i; k < i + MANY; k++)
			wait_for(order[k] * (page_size / APF_PAGE_SIZE));
		for (uint32_t k = i; k < i + MANY; k++)
			touch(order[k]);
	}
}

static void *toucher(void *arg)
{
	for (uint32_t i = (uint32_t)(uintptr_t)arg; i < PAGES; i += MANY)
		touch(order[i]);
	return NULL;
}

static void touch_by_many(void)
{
	pthread_t t[MANY];

	for (uintptr_t i = 0; i < MANY; i++)
		if (pthread_create(&t[i], NULL, toucher, (void *)i))
			die("pthread_create", strerror(errno));
	for (uint32_t i = 0; i < MANY; i++)
		pthread_join(t[i], NULL);
}

static struct cost measure(void (*work)(void), uint32_t faults)
{
	double wall = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);

	work();
	return (struct cost){ (now_us(CLOCK_MONOTONIC) - wall) / faults,
			      (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / faults };
}

static void create(void)
{
	struct apf_mem_config cfg = {
		.size = SIZE, .trap = APF_TRAP_POISON, .done = on_done,
	};
	char spec[256];

	snprintf(spec, sizeof(spec), "file:%s", path);
	if (apf_store_open(spec, &cfg.store) || apf_mem_create(&cfg, &mem))
		die("libapf", apf_error());
	ram = apf_mem_view_a(mem);
}

static void wait_until_armed(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct apf_mem_stats s;

	for (apf_mem_stats(mem, &s); s.armed < CHUNKS; apf_mem_stats(mem, &s))
		nanosleep(&pause, NULL);
}

static struct cost with_libapf(void (*work)(void))
{
	struct cost c;

	create();
	wait_until_armed();
	c = measure(work, PAGES);
	apf_mem_destroy(mem);
	return c;
}

static void touch_each_chunk(void)
{
	for (uint32_t n = 0; n < PAGES; n += PAGES / CHUNKS)
		touch_and_go_on(n + 7);
}

/* The first touch of an unarmed chunk up to the trap; the page itself comes meanwhile. */
static struct cost arming(void)
{
	struct cost c;

	create();
	c = measure(touch_each_chunk, CHUNKS);
	apf_mem_destroy(mem);
	return c;
}

/* The peer. */
static void *blocking_loop(void *arg)
{
	char *page = aligned_alloc(page_size, page_size);
	int uffd = *(int *)arg;
	struct uffd_msg msg;

	for (uint32_t n = 0; n < PAGES;) {
		struct uffdio_copy copy = { .src = (uintptr_t)page, .len = page_size };

		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		copy.dst = msg.arg.pagefault.address & -(uint64_t)page_size;
		if (pread(store_fd, page, page_size, (off_t)(copy.dst - (uintptr_t)ram)) < 0 ||
		    ioctl(uffd, UFFDIO_COPY, &copy))
			die("blocking loop", strerror(errno));
		n++;
	}
	free(page);
	return NULL;
}

static int register_ram(int fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ram == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		die("userfaultfd", strerror(errno));
	madvise(ram, SIZE, MADV_NOHUGEPAGE);
	reg.range = (struct uffdio_range){ (uintptr_t)ram, SIZE };
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		die("userfaultfd", strerror(errno));
	return uffd;
}

static struct cost with_blocking_loop(void (*work)(void))
{
	int fd = memfd_create("ram", MFD_CLOEXEC), uffd;
	pthread_t t;
	struct cost c;

	if (fd < 0 || ftruncate(fd, (off_t)SIZE))
		die("memfd", strerror(errno));
	uffd = register_ram(fd);
	if (pthread_create(&t, NULL, blocking_loop, &uffd))
		die("pthread_create", strerror(errno));
	c = measure(work, PAGES);
	pthread_join(t, NULL);
	munmap(ram, SIZE);
	close(uffd);
	close(fd);
	return c;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

enum { ONE, BY_MANY, AHEAD, PEER_ONE, PEER_BY_MANY, ARMING, KINDS };

static struct cost run(int kind)
{
	switch (kind) {
	case ONE:
		return with_libapf(touch_all);
	case BY_MANY:
		return with_libapf(touch_by_many);
	case AHEAD:
		return with_libapf(touch_ahead);
	case PEER_ONE:
		return with_blocking_loop(touch_all);
	case PEER_BY_MANY:
		return with_blocking_loop(touch_by_many);
	default:
		return arming();
	}
}

static void print_row(const char *name, struct cost ours, struct cost peer)
{
	printf("%-12s %8.2f %8.2f   %8.2f %8.2f   %6.2f %6.2f\n", name, ours.wall, ours.cpu,
	       peer.wall, peer.cpu, ours.wall / peer.wall, ours.cpu / peer.cpu);
}

int main(int argc, char **argv)
{
	int runs = argc > 1 ? atoi(argv[1]) : 5;
	const char *dir = argc > 2 ? argv[2] : "/dev/shm";
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	double wall[KINDS][MAX_RUNS], cpu[KINDS][MAX_RUNS];
	struct cost c[KINDS];

	if (runs < 1 || runs > MAX_RUNS) {
		fprintf(stderr, "usage: paging [RUNS, 1 to %d [FOLDER]]\n", MAX_RUNS);
		return 2;
	}
	page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	sigaction(SIGBUS, &sa, NULL);
	make_store(dir);
	for (int i = 0; i < runs; i++) {	/* in turn, so that all see the same machine */
		for (int k = 0; k < KINDS; k++) {
			struct cost one = run(k);

			wall[k][i] = one.wall;
			cpu[k][i] = one.cpu;
		}
	}
	for (int k = 0; k < KINDS; k++)
		c[k] = (struct cost){ median(wall[k], runs), median(cpu[k], runs) };
	unlink(path);
	printf("us per fault, median of %d runs of %u faults\n", runs, PAGES);
	printf("                  libapf              blocking loop        ratio\n");
	printf("                 wall      cpu       wall      cpu     wall    cpu\n");
	print_row("one", c[ONE], c[PEER_ONE]);
	print_row("64 threads", c[BY_MANY], c[PEER_BY_MANY]);
	print_row("64 ahead", c[AHEAD], c[PEER_BY_MANY]);
	printf("first touch of an unarmed 2 MiB chunk, up to the trap: %.1f us\n", c[ARMING].wall);
	return 0;
}
