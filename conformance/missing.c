/* SPDX-License-Identifier: MIT */
/*
 * A small pager for a VMM that is not ours. It copies the pages, has them dropped by what is preloaded
 * there, and answers the faults on that process's userfaultfd. To KVM they are pages like any that take
 * long to come.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <apf/error.h>

#include "missing.h"
#include "preload.h"

#define SLOTS		32u
#define NS_PER_MS	1000000u

enum page_state { HERE, GONE, WANTED };

struct missing {
	int sock, uffd, event;
	pid_t pid;
	struct preload_slot slot[SLOTS];
	uint64_t address;		/* in the VMM, of the first page */
	size_t page_size;
	char *bytes;			/* of all pages */
	unsigned int n;
	enum page_state *state;
	struct {
		uint64_t due_ns;
		unsigned int page;
	} *queue;			/* of those wanted, in order */
	unsigned int first, end;
	uint64_t latency_ns;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;		/* of what follows */
	bool held, stop;
	struct conf_pages pages;
};

/* --- what the VMM says --- */

static void take_fd(struct missing *m, struct msghdr *msg)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(msg);

	if (!header || header->cmsg_type != SCM_RIGHTS)
		return;
	if (m->uffd >= 0)
		close(m->uffd);
	memcpy(&m->uffd, CMSG_DATA(header), sizeof(m->uffd));
}

/* Take all that was said so far. */
static void hear_slots(struct missing *m)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct preload_slot slot;
	struct iovec iov = { &slot, sizeof(slot) };

	for (;;) {
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				      .msg_controllen = sizeof(control) };

		if (recvmsg(m->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(slot))
			return;
		take_fd(m, &msg);
		m->pid = slot.pid;
		m->slot[slot.slot % SLOTS] = slot;
	}
}

/* Where the VMM has these guest-physical bytes; 0: not in one piece. */
static uint64_t find_address(const struct missing *m, uint64_t gpa, uint64_t size)
{
	for (const struct preload_slot *s = m->slot; s < m->slot + SLOTS; s++)
		if (gpa >= s->gpa && size <= s->size && gpa - s->gpa <= s->size - size)
			return s->address + (gpa - s->gpa);
	return 0;
}

static int drop(struct missing *m, unsigned int page)
{
	struct preload_drop d = { m->address + page * m->page_size, m->page_size };

	if (send(m->sock, &d, sizeof(d), MSG_NOSIGNAL) != sizeof(d) ||
	    recv(m->sock, &d, sizeof(d), 0) != sizeof(d))
		return -EPIPE;
	m->state[page] = GONE;
	return 0;
}

/* --- the pager --- */

static void wants(struct missing *m, unsigned int page)
{
	if (page >= m->n || m->state[page] != GONE)
		return;
	m->state[page] = WANTED;
	m->queue[m->end].page = page;
	m->queue[m->end++].due_ns = vmm_now_ns() + m->latency_ns;
	pthread_mutex_lock(&m->lock);
	m->pages.in_flight++;
	if (m->pages.in_flight > m->pages.most)
		m->pages.most = m->pages.in_flight;
	pthread_mutex_unlock(&m->lock);
}

static void read_faults(struct missing *m)
{
	struct uffd_msg msg;

	while (read(m->uffd, &msg, sizeof(msg)) == sizeof(msg))
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			wants(m, (unsigned int)((msg.arg.pagefault.address - m->address) / m->page_size));
}

static void put_back(struct missing *m, unsigned int page)
{
	struct uffdio_copy copy = {
		.dst = m->address + page * m->page_size,
		.src = (uintptr_t)m->bytes + page * m->page_size, .len = m->page_size,
	};

	while (ioctl(m->uffd, UFFDIO_COPY, &copy) < 0 && errno == EAGAIN)
		copy.copy = 0;
	m->state[page] = HERE;
	pthread_mutex_lock(&m->lock);
	m->pages.in_flight--;
	m->pages.fetched++;
	pthread_mutex_unlock(&m->lock);
}

/* Those whose time has come. Returns how long until the next one, in ms; -1: there is none. */
static int serve(struct missing *m)
{
	for (; m->first < m->end; m->first++) {
		const uint64_t now = vmm_now_ns(), due = m->queue[m->first].due_ns;

		if (now < due)
			return (int)((due - now) / NS_PER_MS) + 1;
		put_back(m, m->queue[m->first].page);
	}
	return -1;
}

static void *pager(void *arg)
{
	struct missing *m = arg;
	struct pollfd fds[] = { { .fd = m->uffd, .events = POLLIN },
				{ .fd = m->event, .events = POLLIN } };
	bool held, stop;
	eventfd_t n;

	do {
		read_faults(m);
		pthread_mutex_lock(&m->lock);
		held = m->held;
		stop = m->stop;
		pthread_mutex_unlock(&m->lock);
		if (!stop && poll(fds, 2, held ? -1 : serve(m)) > 0 && fds[1].revents)
			eventfd_read(m->event, &n);
	} while (!stop && !(fds[0].revents & (POLLERR | POLLHUP)));
	return NULL;
}

static void set(struct missing *m, bool *what, bool value)
{
	pthread_mutex_lock(&m->lock);
	*what = value;
	pthread_mutex_unlock(&m->lock);
	eventfd_write(m->event, 1);
}

void missing_release(struct missing *m)
{
	set(m, &m->held, false);
}

struct conf_pages missing_pages(struct missing *m)
{
	struct conf_pages p;

	pthread_mutex_lock(&m->lock);
	p = m->pages;
	pthread_mutex_unlock(&m->lock);
	return p;
}

/* --- start and end --- */

struct missing *missing_open(int sock)
{
	struct missing *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	*m = (struct missing){ .sock = sock, .uffd = -1, .event = eventfd(0, EFD_CLOEXEC),
			       .page_size = (size_t)sysconf(_SC_PAGESIZE),
			       .lock = PTHREAD_MUTEX_INITIALIZER };
	hear_slots(m);
	if (m->uffd >= 0)
		return m;
	apf_error_set(-ENXIO, "the command's VMM has no KVM, cannot be preloaded, or may not use "
		      "userfaultfd");
	missing_close(m);
	return NULL;
}

static int copy_pages(struct missing *m, uint64_t gpa, unsigned int n)
{
	const size_t size = n * m->page_size;
	struct iovec to, from;

	m->n = n;
	m->address = find_address(m, gpa, size);
	m->bytes = malloc(size);
	m->state = calloc(n, sizeof(*m->state));
	m->queue = calloc(n, sizeof(*m->queue));
	if (!m->bytes || !m->state || !m->queue)
		return -ENOMEM;
	if (!m->address)
		return apf_error_set(-ENXIO, "the guest's memory is not in one piece");
	to = (struct iovec){ m->bytes, size };
	from = (struct iovec){ (void *)(uintptr_t)m->address, size };
	if (process_vm_readv(m->pid, &to, 1, &from, 1, 0) != (ssize_t)size)
		return apf_error_set(-errno, "reading the guest's memory: %s", strerror(errno));
	return 0;
}

static int watch(struct missing *m)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { m->address, m->n * m->page_size }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(m->uffd, UFFDIO_API, &api) < 0 || ioctl(m->uffd, UFFDIO_REGISTER, &range) < 0)
		return apf_error_set(-errno, "userfaultfd on the guest's memory: %s", strerror(errno));
	return 0;
}

int missing_take(struct missing *m, uint64_t gpa, unsigned int n, bool (*keep)(void *arg, unsigned int i),
		 void *arg, const struct conf_setup *setup)
{
	int err = copy_pages(m, gpa, n);

	if (!err)
		err = watch(m);
	for (unsigned int i = 0; i < n && !err; i++)
		if (!keep(arg, i))
			err = drop(m, i);
	if (err)
		return err;
	m->held = setup->held;
	m->latency_ns = setup->latency_ns;
	err = -pthread_create(&m->thread, NULL, pager, m);
	m->running = !err;
	return err;
}

void missing_close(struct missing *m)
{
	if (!m)
		return;
	if (m->running) {
		set(m, &m->stop, true);
		pthread_join(m->thread, NULL);
	}
	close(m->event);
	if (m->uffd >= 0)
		close(m->uffd);
	free(m->bytes);
	free(m->state);
	free(m->queue);
	free(m);
}
