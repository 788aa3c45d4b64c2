/* SPDX-License-Identifier: MIT */
/*
 * Being told to end, by a signal or by --timeout, whatever the command is doing: a thread of its
 * own looks for both. A VM that runs is asked to end; if the command is not through with that
 * soon, because a store, a reader or a save holds it up, or if there is no VM yet, the
 * process ends at once.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "commands.h"

#define GRACE_MS	800	/* with what is left to do at once, everything ends within a second */

static struct {
	const char *command;
	uint64_t end_ns;
	int signal_fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t lock;
	bool started;
	struct vmm *vm;		/* under lock; NULL: there is none that runs */
} ending = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* stdio's locks may be held by who waits for the reader of stderr, and that reader may wait for ever. */
static void say(const char *fmt, ...)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
	char text[256];
	va_list args;
	ssize_t n;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (poll(&out, 1, 0) == 1)
		n = write(STDERR_FILENO, text, strlen(text));
	(void)n;
}

/* How long poll may sleep; rounded up, so that it does not come too early. */
static int sleep_ms(void)
{
	const uint64_t now = vmm_now_ns();
	uint64_t ms;

	if (ending.end_ns == UINT64_MAX)
		return -1;
	ms = ending.end_ns > now ? (ending.end_ns - now + 999999u) / 1000000u : 0;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Wait for a signal or the time. The exit code for it; -1: stopped. */
static int wait_for_order(char *why, size_t size)
{
	struct pollfd fds[] = { { .fd = ending.stop_fd, .events = POLLIN },
				{ .fd = ending.signal_fd, .events = POLLIN } };
	struct signalfd_siginfo si;

	for (;;) {
		int n = poll(fds, 2, sleep_ms());

		if (n > 0 && fds[0].revents)
			return -1;
		if (n > 0 && read(ending.signal_fd, &si, sizeof(si)) == sizeof(si)) {
			snprintf(why, size, "interrupted by signal %u (%s)", si.ssi_signo,
				 strsignal((int)si.ssi_signo));
			return EXIT_ERROR;
		}
		if (!n && vmm_now_ns() >= ending.end_ns) {
			snprintf(why, size, "time is up");
			return EXIT_TIMEOUT;
		}
	}
}

static bool stopped_in_time(void)
{
	struct pollfd stop = { .fd = ending.stop_fd, .events = POLLIN };
	const uint64_t end = vmm_now_ns() + GRACE_MS * 1000000ull;
	int n;

	do {
		n = poll(&stop, 1, GRACE_MS);
	} while (n < 0 && vmm_now_ns() < end);
	return n > 0;
}

static void *ending_main(void *arg)
{
	char why[128];
	int code = wait_for_order(why, sizeof(why));
	bool runs;

	if (code < 0)
		return NULL;
	pthread_mutex_lock(&ending.lock);
	runs = ending.vm;
	if (runs)
		vmm_finish(ending.vm, code == EXIT_TIMEOUT ? VMM_END_TIMEOUT : VMM_END_SIGNAL, "%s", why);
	pthread_mutex_unlock(&ending.lock);
	if (runs && stopped_in_time())
		return NULL;
	pthread_mutex_lock(&ending.lock);	/* and keep it: the VM must not go away meanwhile */
	if (ending.vm)
		vmm_abandon(ending.vm);
	say("apf %s: %s%s\n", ending.command, why, runs ? "; ended in the middle of its work" : "");
	/* Not _exit: sanitizers flush stdio there, whose lock a stalled writer may hold. */
	syscall(SYS_exit_group, code);
	return NULL;
}

int ending_start(const char *command, uint64_t end_ns)
{
	const sigset_t set = signals_that_end();
	int err;

	block_signals();
	ending.command = command;
	ending.end_ns = end_ns;
	ending.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	ending.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (ending.signal_fd < 0 || ending.stop_fd < 0)
		return error(command, "cannot look out for signals: %s", strerror(errno));
	err = pthread_create(&ending.thread, NULL, ending_main, NULL);
	if (err)
		return error(command, "cannot look out for signals: %s", strerror(err));
	ending.started = true;
	return 0;
}

void ending_of(struct vmm *vm)
{
	pthread_mutex_lock(&ending.lock);
	ending.vm = vm;
	pthread_mutex_unlock(&ending.lock);
}

void ending_stop(void)
{
	static const uint64_t one = 1;
	const sigset_t set = signals_that_end();
	ssize_t n;

	if (!ending.started)
		return;
	n = write(ending.stop_fd, &one, sizeof(one));
	(void)n;
	pthread_join(ending.thread, NULL);
	ending.started = false;
	close(ending.signal_fd);
	close(ending.stop_fd);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
