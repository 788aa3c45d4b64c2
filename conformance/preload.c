/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a VMM that is judged from outside, so that pages of its guest can be missing: it tells
 * where the guest's memory is, lends a userfaultfd, and drops pages when it is told to.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

#ifndef KVM_SET_USER_MEMORY_REGION2	/* Linux 6.8 */
struct region2 {
	struct kvm_userspace_memory_region like;
	__u64 more[16];
};
#define KVM_SET_USER_MEMORY_REGION2	_IOW(KVMIO, 0x49, struct region2)
#endif

int ioctl(int fd, unsigned long request, ...);

static int sock = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int uffd = -1;		/* until it was sent */

static void *obey(void *arg)
{
	struct preload_drop d;

	while (recv(sock, &d, sizeof(d), 0) == sizeof(d)) {
		madvise((void *)(uintptr_t)d.address, d.size, MADV_DONTNEED);
		send(sock, &d, sizeof(d), MSG_NOSIGNAL);
	}
	return NULL;
}

/* The thread must take no signal of the VMM's. */
static void start(void)
{
	const char *number = getenv(PRELOAD_SOCKET);
	sigset_t all, old;
	pthread_t thread;

	if (!number)
		return;
	sock = atoi(number);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&thread, NULL, obey, NULL))
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void tell(const struct kvm_userspace_memory_region *r)
{
	struct preload_slot slot = { getpid(), r->slot, r->guest_phys_addr, r->memory_size,
				     r->userspace_addr };
	struct iovec iov = { &slot, sizeof(slot) };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	pthread_once(&once, start);
	if (sock < 0)
		return;
	if (uffd >= 0) {
		memcpy(CMSG_DATA(&control.header), &uffd, sizeof(uffd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL);
	if (uffd >= 0)
		close(uffd);
	uffd = -1;
}

/* Both forms of the request begin alike. */
static int is_memory(unsigned long request)
{
	return request == KVM_SET_USER_MEMORY_REGION || request == KVM_SET_USER_MEMORY_REGION2;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int fd, unsigned long request, ...);
	va_list args;
	void *arg;
	int result;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!next)
		next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	result = next(fd, request, arg);
	if (!result && is_memory(request))
		tell(arg);
	return result;
}
