/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd on views A and B: making pages visible, marking those that are not
 * here, and answering accesses that block. What the kernel promises and what it
 * does not is in docs/memory.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <liburing.h>

#include <apf/error.h>

#include "memory/memory.h"
#include "memory/uapi.h"

#define EVENTS		64		/* taken by one read */
#define NO_ROOM_NS	100000u
#define ARM_START_NS	50000000u	/* let a restore get going first */
#define ARM_PAUSE_NS	200000u

/* CONTINUE, ZEROPAGE and POISON take the same three things under different names. */
struct range_op {
	struct uffdio_range range;
	__u64 mode;
	__s64 done;			/* bytes, or a negative errno */
};

_Static_assert(sizeof(struct range_op) == sizeof(struct uffdio_continue) &&
	       sizeof(struct range_op) == sizeof(struct uffdio_zeropage) &&
	       sizeof(struct range_op) == sizeof(struct uffdio_poison), "one layout for all");

/*
 * The page cache has a page where op finds one already. That does not say that the view maps it:
 * a zero page may have been put there by whoever looked at the memfd. 0 or negative errno.
 */
static int is_there(struct apf_mem *m, unsigned long op, uint64_t start)
{
	struct range_op x = { .range = { .start = start, .len = m->host_page } };

	if (op != UFFDIO_ZEROPAGE || !ioctl(m->uffd, UFFDIO_CONTINUE, &x) || errno == EEXIST)
		return 0;
	return -errno;
}

/*
 * Do op to pages of a view. Where it is done already is skipped, host page by host
 * page; 0 or negative errno. Sleepers on the range are woken by the kernel.
 */
static int range_op(struct apf_mem *m, unsigned long op, char *view, uint64_t page, uint64_t n)
{
	uint64_t start = (uintptr_t)view + page_offset(m, page), len = page_offset(m, n);

	while (len) {
		struct range_op x = { .range = { .start = start, .len = len } };
		uint64_t done;
		int r = 0;

		if (!ioctl(m->uffd, op, &x))
			return 0;
		/* Stopped in the middle: EAGAIN and how far it got. At the very start: why. */
		if (errno != EAGAIN && errno != EEXIST)
			return -errno;
		done = x.done > 0 ? (uint64_t)x.done : 0;
		if (errno == EEXIST) {
			done += m->host_page;
			r = is_there(m, op, start);
		}
		if (r < 0)
			return r;
		start += done;
		len -= done;
	}
	return 0;
}

static void wake(struct apf_mem *m, char *view, uint64_t page)
{
	struct uffdio_range r = { .start = (uintptr_t)view + page_offset(m, page),
				  .len = 1ull << m->page_shift };

	ioctl(m->uffd, UFFDIO_WAKE, &r);
}

static int register_range(struct apf_mem *m, char *start, uint64_t len)
{
	struct uffdio_register r = {
		.range = { .start = (uintptr_t)start, .len = len },
		/* MINOR: a page that is being read into the page cache must not show. */
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};

	if (!ioctl(m->uffd, UFFDIO_REGISTER, &r))
		return 0;
	return apf_error_set(-errno, "userfaultfd does not take guest RAM: %s", strerror(errno));
}

/* Pages are in the page cache, or all zeroes: make them visible in A. 0 or negative errno. */
int apf_trap_place(struct apf_mem *m, uint64_t page, uint32_t n, bool zero)
{
	int r = range_op(m, zero ? UFFDIO_ZEROPAGE : UFFDIO_CONTINUE, m->a, page, n);

	return m->cut_off ? 0 : r;
}

/*
 * A fault holds the lock of the mappings until it sleeps: who is not asleep when the view has gone
 * finds that it is gone.
 */
int apf_mem_cut_off(struct apf_mem *m)
{
	struct uffdio_range r = { .start = (uintptr_t)m->a, .len = m->cfg.size };

	m->cut_off = true;
	if (mmap(m->a, m->cfg.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		return apf_error_set(-errno, "cannot take RAM away: %s", strerror(errno));
	if (m->uffd >= 0)
		ioctl(m->uffd, UFFDIO_WAKE, &r);
	return 0;
}

/* Somebody blocks on a resident page in B: let them in. */
void apf_trap_release_b(struct apf_mem *m, uint64_t page)
{
	/* If it fails (no memory for a page table) the access faults and comes here again. */
	range_op(m, UFFDIO_CONTINUE, m->b, page, 1);
	wake(m, m->b, page);
}

/*
 * Before Linux 6.6 there is no POISON, and only lost pages need it (APF_TRAP_BLOCK). An empty
 * file does as well: every access behind its end is a SIGBUS. The offset lets neighbours merge.
 */
static void map_nothing(struct apf_mem *m, char *view, uint64_t page)
{
	mmap(view + page_offset(m, page), 1ull << m->page_shift, PROT_READ | PROT_WRITE,
	     MAP_SHARED | MAP_FIXED, m->empty_fd, (off_t)page_offset(m, page));
}

static void poison(struct apf_mem *m, char *view, uint64_t page)
{
	if (m->empty_fd < 0)
		range_op(m, UFFDIO_POISON, view, page, 1);
	else
		map_nothing(m, view, page);
	wake(m, view, page);
}

/* A lost page: an access raises SIGBUS in both views, now and later; nobody hangs. */
void apf_trap_poison(struct apf_mem *m, uint64_t page)
{
	poison(m, m->a, page);
	poison(m, m->b, page);
}

/* No longer lost, but missing. */
static void unpoison(struct apf_mem *m, char *view, uint64_t page)
{
	uint64_t offset = page_offset(m, page), len = 1ull << m->page_shift;

	if (m->empty_fd < 0)
		madvise(view + offset, len, MADV_DONTNEED);
	else if (!apf_ram_map(m, view, offset, len))
		register_range(m, view + offset, len);
}

void apf_trap_unpoison(struct apf_mem *m, uint64_t page)
{
	unpoison(m, m->a, page);
	unpoison(m, m->b, page);
}

static uint64_t chunks(const struct apf_mem *m)
{
	return (m->cfg.size + CHUNK_BYTES - 1) / CHUNK_BYTES;
}

static uint64_t chunk_of(const struct apf_mem *m, uint64_t page)
{
	return page_offset(m, page) / CHUNK_BYTES;
}

/*
 * Mark all of a chunk that is not here. Only this thread maps pages into A, so
 * what the map says cannot change meanwhile.
 */
static void arm_chunk(struct apf_mem *m, uint64_t chunk)
{
	uint64_t page = chunk * (CHUNK_BYTES >> m->page_shift), end = chunk_end(m, page), from;

	if (end > m->pages)
		end = m->pages;
	while (page < end) {
		for (from = page; page < end && !apf_map_resident(m, page); page++)
			;
		if (page > from)
			range_op(m, UFFDIO_POISON, m->a, from, page - from);
		while (page < end && apf_map_resident(m, page))
			page++;
	}
	m->armed[chunk] = true;
	count(&m->count.armed, 1);
}

/* All chunks that have one of these pages. */
void apf_trap_arm(struct apf_mem *m, uint64_t page, uint64_t end)
{
	for (; page < end; page = chunk_end(m, page))
		if (!m->armed[chunk_of(m, page)])
			arm_chunk(m, chunk_of(m, page));
}

/* Pages of one chunk are in no view any more: a touch of them must trap again. */
void apf_trap_again(struct apf_mem *m, uint64_t page, uint64_t n)
{
	if (m->cfg.trap == APF_TRAP_POISON && m->armed[chunk_of(m, page)])
		range_op(m, UFFDIO_POISON, m->a, page, n);
}

/*
 * Arm one more chunk when nothing waits for us, then leave four times as long
 * to others: in all at most a fifth of a CPU, and no request waits longer than
 * one chunk takes.
 */
static void arm_when_idle(struct apf_timer *t)
{
	struct apf_mem *m = apf_container_of(t, struct apf_mem, arm_timer);
	uint64_t before = apf_clock_ns(), after, pause;

	while (m->arm_next < chunks(m) && m->armed[m->arm_next])
		m->arm_next++;
	if (m->arm_next == chunks(m))
		return;
	if (!m->events && !m->fetcher.finished.first && !apf_want_pending(m))
		arm_chunk(m, m->arm_next);
	after = apf_clock_ns();
	pause = 4 * (after - before);
	apf_loop_timer_arm(m->loop, t, after + (pause > ARM_PAUSE_NS ? pause : ARM_PAUSE_NS));
}

/*
 * A fault on A slept in the kernel. With markers it must not sleep but come out of
 * KVM_RUN, so the page is marked and the sleeper woken. The wake is explicit: one
 * that faulted just before the marker was set and went to sleep just after has
 * missed the marker's own (the kernel takes a marker for "still missing").
 */
static void touched_a(struct apf_mem *m, uint64_t page)
{
	switch (apf_map_state(m, page)) {
	case PAGE_RESIDENT:
		apf_trap_place(m, page, 1, false);
		wake(m, m->a, page);
		return;
	case PAGE_LOST:
		poison(m, m->a, page);
		return;
	}
	if (m->cfg.trap == APF_TRAP_BLOCK) {
		if (apf_map_claim(m, page))
			apf_fetch_want(m, page);
		return;
	}
	if (!m->armed[chunk_of(m, page)])
		arm_chunk(m, chunk_of(m, page));
	poison(m, m->a, page);
}

static void touched_b(struct apf_mem *m, uint64_t page)
{
	switch (apf_map_state(m, page)) {
	case PAGE_RESIDENT:
		apf_trap_release_b(m, page);
		return;
	case PAGE_LOST:
		poison(m, m->b, page);
		return;
	}
	if (apf_map_claim(m, page))
		apf_fetch_want(m, page);
	atomic_fetch_or(&m->map[page], PAGE_B_WAITS);
}

static void touched(struct apf_mem *m, uintptr_t addr)
{
	count(&m->count.blocked, 1);
	if (addr - (uintptr_t)m->a < m->cfg.size)
		touched_a(m, (addr - (uintptr_t)m->a) >> m->page_shift);
	else
		touched_b(m, (addr - (uintptr_t)m->b) >> m->page_shift);
}

static void listen_for_events(struct apf_timer *t)
{
	struct apf_mem *m = apf_container_of(t, struct apf_mem, uffd_timer);

	if (apf_loop_poll(m->loop, &m->uffd_op, m->uffd, POLLIN))
		apf_loop_timer_arm(m->loop, t, apf_loop_now(m->loop) + NO_ROOM_NS);
}

static void events_came(struct apf_loop_op *op, int res)
{
	apf_container_of(op, struct apf_mem, uffd_op)->events = true;
}

/* Answer what the poll announced; what does not fit into this turn stays in the kernel. */
void apf_trap_events(struct apf_mem *m)
{
	struct uffd_msg msg[EVENTS];
	uint32_t room = apf_fetch_room(m);
	ssize_t n;

	if (!m->events || !room)
		return;
	room = room < EVENTS ? room : EVENTS;
	n = read(m->uffd, msg, room * sizeof(*msg));
	n = n < 0 ? 0 : n / (ssize_t)sizeof(*msg);
	for (ssize_t i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			touched(m, msg[i].arg.pagefault.address);
	if (n == room)
		return;			/* there may be more: next turn */
	m->events = false;
	listen_for_events(&m->uffd_timer);
}

/*
 * A descriptor that also serves faults the kernel itself takes (KVM, read(2) into
 * guest memory): from the device file, else by the system call, which needs privilege.
 */
static int open_uffd(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		close(dev);
	}
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	if (errno == EPERM || errno == EACCES)
		return apf_error_set(-EPERM, "userfaultfd is not permitted: run as root, or give "
				     "this user access to /dev/userfaultfd, or set sysctl "
				     "vm.unprivileged_userfaultfd=1");
	return apf_error_set(-EOPNOTSUPP, "this kernel has no userfaultfd: %s", strerror(errno));
}

static bool has_features(const struct apf_mem *m, __u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	return !ioctl(m->uffd, UFFDIO_API, &api);
}

/* A wish that is refused leaves the descriptor as it was: ask for less then. */
static int choose_features(struct apf_mem *m)
{
	const __u64 shmem = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;

	if (has_features(m, shmem | UFFD_FEATURE_POISON))
		return 0;
	if (m->cfg.trap == APF_TRAP_POISON)
		return apf_error_set(-EOPNOTSUPP, "this kernel's userfaultfd lacks shmem minor faults "
				     "(Linux 5.14) or POISON (Linux 6.6)");
	if (!has_features(m, shmem))
		return apf_error_set(-EOPNOTSUPP, "this kernel's userfaultfd lacks shmem minor faults "
				     "(Linux 5.14)");
	m->empty_fd = memfd_create("lost-pages", MFD_CLOEXEC);
	return m->empty_fd < 0 ? apf_error_set(-errno, "no memfd: %s", strerror(errno)) : 0;
}

static void close_fds(struct apf_mem *m)
{
	close(m->uffd);
	if (m->empty_fd >= 0)
		close(m->empty_fd);
}

static int set_up_uffd(struct apf_mem *m)
{
	int r;

	m->uffd = open_uffd();
	if (m->uffd < 0)
		return m->uffd;
	r = choose_features(m);
	if (!r)
		r = register_range(m, m->a, m->cfg.size);
	if (!r)
		r = register_range(m, m->b, m->cfg.size);
	if (r < 0) {
		close_fds(m);
		m->uffd = -1;
	}
	return r;
}

int apf_trap_open(struct apf_mem *m)
{
	void *p;
	int r;

	m->uffd = -1;
	m->empty_fd = -1;
	if (m->cfg.trap == APF_TRAP_NONE)
		return 0;
	p = mmap(NULL, chunks(m), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return apf_error_set(-ENOMEM, "no memory for the map of armed chunks");
	m->armed = p;
	r = set_up_uffd(m);
	if (r < 0)
		munmap(m->armed, chunks(m));
	return r;
}

/* The views must be gone: a touch after this would find a zero page. */
void apf_trap_close(struct apf_mem *m)
{
	if (m->uffd < 0)
		return;
	close_fds(m);
	munmap(m->armed, chunks(m));
}

/* From here on accesses are answered. */
void apf_trap_start(struct apf_mem *m)
{
	if (m->uffd < 0)
		return;
	m->uffd_op.fn = events_came;
	m->uffd_timer.fn = listen_for_events;
	listen_for_events(&m->uffd_timer);
	m->arm_timer.fn = arm_when_idle;
	if (m->cfg.trap == APF_TRAP_POISON)
		apf_loop_timer_arm(m->loop, &m->arm_timer,
				   apf_loop_now(m->loop) + ARM_START_NS);
}

static bool io_uring_works(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(2, &ring, 0) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

int apf_mem_probe(struct apf_mem_probe *p)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd;

	*p = (struct apf_mem_probe){ .io_uring = io_uring_works() };
	fd = open_uffd();
	if (fd < 0)
		return fd;
	p->userfaultfd = !ioctl(fd, UFFDIO_API, &api);	/* without a wish it lists what there is */
	p->minor_shmem = api.features & UFFD_FEATURE_MINOR_SHMEM;
	p->poison = api.features & UFFD_FEATURE_POISON;
	close(fd);
	return 0;
}
