/* SPDX-License-Identifier: MIT */
/*
 * The only program of the lab's guest (PID 1, static) on an unmodified Debian kernel: tasks that
 * verify checkable data page by page, and a worker that never faults. It drives the serial port
 * itself, so that neither the kernel's tty nor interrupts stand between the guest and its monitor.
 *
 * Kernel command line:
 *	tasks=N pages=P		N tasks with P pages each (16, 64)
 *	worker=1		also run the worker
 *	slice=MS		time slices of the tasks (up to 100; Linux 6.12), else the kernel's own
 *	seed=S			another set of data
 *	clock=1			after "done", also say how far the clocks went
 *	ticks=1			before "done", also say how many interrupts came meanwhile
 *
 * It prints "@apf ready ..." and then obeys lines read from the serial port:
 *	go touch | go random	every task verifies its pages, in order | in a shuffled order
 *	go write		every task writes to all of its pages, too, and verifies them again
 *	go sleep USEC		every task sleeps USEC for each page instead
 *	off | reset		end the machine
 *	fault-and-off | fault-and-reset		the same while the tasks' faults are outstanding
 * After a "go": "@apf done mode=M tasks=N bytes=B wrong=W worker=C elapsed_us=T".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "port.h"

#define PAGE_SIZE 4096u
#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))
#define STACK_SIZE 16384u
#define MAX_TASKS 4096u
#define MAX_PAGES (1u << 20)

enum { UART_DATA = 0, UART_IER = 1, UART_LSR = 5, UART_SCRATCH = 7 };
enum { LSR_DATA_READY = 0x01, LSR_CAN_SEND = 0x20 };

enum mode { MODE_TOUCH, MODE_RANDOM, MODE_WRITE, MODE_SLEEP };

static const char *const mode_names[] = { "touch", "random", "write", "sleep" };

struct task {
	uint64_t *data;
	uint64_t first_page;		/* number of data[0]'s page over all tasks */
	uint64_t generation;		/* how often "go write" has changed the data */
	uint64_t bytes;			/* verified in the last job */
	uint64_t wrong;
};

/* What all threads share; number and left are futex words. */
static struct {
	_Atomic uint32_t waiting;	/* threads that wait for their first job */
	_Atomic uint32_t number;	/* of the current job; 0: none yet */
	_Atomic uint32_t started;	/* tasks that have begun the job */
	_Atomic uint32_t left;		/* tasks that have not finished it */
	enum mode mode;
	uint64_t sleep_us;
	_Atomic uint64_t worker_count;
} job;

static struct {
	uint64_t tasks, pages, worker, slice, seed, clock, ticks;
} option = { .tasks = 16, .pages = 64, .seed = 1 };

static struct task *tasks;
static double ticks_per_us;

/* --- serial port --- */

static void put(const char *text)
{
	for (; *text; text++) {
		while (!(port_read(UART_LSR) & LSR_CAN_SEND))
			;
		port_write(UART_DATA, (uint8_t)*text);
	}
}

/* Own formatting: printf's pages would have to be fetched between the work's end and the report. */
static void put_number(const char *name, uint64_t value)
{
	char digits[24];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	put(name);
	put(at);
}

static void end_machine(int how)
{
	reboot(how);
	for (;;)
		pause();
}

static void die(const char *what)
{
	int error = errno;

	put("@apf error ");
	put(what);
	put_number(" errno=", (uint64_t)error);
	put("\n");
	end_machine(RB_POWER_OFF);
}

/*
 * Polls for a line. The scratch writes are a heart beat: the first thing that a restored guest lets
 * its monitor see.
 */
static void read_line(char *line, size_t size)
{
	static uint8_t beat;
	size_t used = 0;

	for (;;) {
		port_write(UART_SCRATCH, beat++);
		if (!(port_read(UART_LSR) & LSR_DATA_READY))
			continue;
		char c = (char)port_read(UART_DATA);

		if (c == '\n')
			break;
		if (used + 1 < size)
			line[used++] = c;
	}
	line[used] = '\0';
}

/* --- threads --- */

static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_it_is, NULL);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

static uint32_t next_job(uint32_t last)
{
	if (!last)
		atomic_fetch_add(&job.waiting, 1);
	while (atomic_load(&job.number) == last)
		futex_wait(&job.number, last);
	return atomic_load(&job.number);
}

/*
 * Threads of glibc would have the kernel write into their memory at every switch (rseq), which is a
 * fault in kernel mode; these have a stack and nothing else. They share the main thread's errno,
 * which none of them reads.
 */
static void start_thread(int (*function)(void *), void *argument)
{
	static char *next, *end;
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			  CLONE_SYSVSEM;

	if (!next) {
		size_t size = (option.tasks + option.worker) * STACK_SIZE;

		next = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (next == MAP_FAILED)
			die("stacks");
		madvise(next, size, MADV_NOHUGEPAGE);
		end = next + size;
	}
	if (next == end)
		die("too many threads");
	next += STACK_SIZE;
	if (clone(function, next, flags, argument) < 0)
		die("clone");
}

/* --- data --- */

/* No byte is ever zero, so that a page that came back empty is wrong in all of its bytes. */
static inline uint64_t expected_word(uint64_t seed, uint64_t page, uint64_t index)
{
	uint64_t x = seed + page * 0x9e3779b97f4a7c15ull + index * 0xd1b54a32d192ed03ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (x ^ (x >> 31)) | 0x0101010101010101ull;
}

static uint64_t seed_of(const struct task *task)
{
	return (option.seed + task->generation) * 0xa0761d6478bd642full;
}

static void fill_page(struct task *task, uint64_t page)
{
	uint64_t *word = task->data + page * PAGE_WORDS;

	for (uint64_t i = 0; i < PAGE_WORDS; i++)
		word[i] = expected_word(seed_of(task), task->first_page + page, i);
}

static uint64_t differing_bytes(uint64_t difference)
{
	uint64_t count = 0;

	for (; difference; difference >>= 8)
		count += (difference & 0xff) != 0;
	return count;
}

static void verify_page(struct task *task, uint64_t page)
{
	const uint64_t *word = task->data + page * PAGE_WORDS;
	uint64_t seed = seed_of(task);

	for (uint64_t i = 0; i < PAGE_WORDS; i++)
		task->wrong += differing_bytes(
			word[i] ^ expected_word(seed, task->first_page + page, i));
	task->bytes += PAGE_SIZE;
}

/* --- what a task does --- */

static void verify_in_order(struct task *task)
{
	for (uint64_t page = 0; page < option.pages; page++)
		verify_page(task, page);
}

/* A full-period generator over the next power of two, less the numbers too high: each page once. */
static void verify_shuffled(struct task *task)
{
	uint64_t mask = 1;

	while (mask < option.pages)
		mask <<= 1;
	mask--;
	uint64_t page = task->first_page & mask;

	for (uint64_t i = 0; i <= mask; i++) {
		page = (page * 0x5851f42d4c957f2dull + 0x14057b7ef767814full) & mask;
		if (page < option.pages)
			verify_page(task, page);
	}
}

/*
 * The first access to a page is a locked write that changes nothing. When all is verified, it is
 * changed and verified again.
 */
static void verify_written(struct task *task)
{
	for (uint64_t page = 0; page < option.pages; page++) {
		__atomic_fetch_or(task->data + page * PAGE_WORDS, 0, __ATOMIC_SEQ_CST);
		verify_page(task, page);
	}
	task->generation++;
	for (uint64_t page = 0; page < option.pages; page++)
		fill_page(task, page);
	verify_in_order(task);
}

static void sleep_per_page(struct task *task)
{
	struct timespec time = { .tv_sec = (time_t)(job.sleep_us / 1000000),
				 .tv_nsec = (long)(job.sleep_us % 1000000) * 1000 };

	(void)task;
	for (uint64_t page = 0; page < option.pages; page++)
		syscall(SYS_nanosleep, &time, NULL);
}

static void (*const work[])(struct task *) = {
	[MODE_TOUCH] = verify_in_order,
	[MODE_RANDOM] = verify_shuffled,
	[MODE_WRITE] = verify_written,
	[MODE_SLEEP] = sleep_per_page,
};

/*
 * Without this, every timer tick that finds the vCPU halted for a page switches to another task, which
 * then asks for its own page: the guest's scheduler hides a part of the latency, more at shorter slices.
 */
static void set_slice(void)
{
	const struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = { .size = sizeof(attr), .runtime = option.slice * 1000000 };

	if (option.slice)
		syscall(SYS_sched_setattr, 0, &attr, 0);
}

static int task_main(void *argument)
{
	struct task *task = argument;

	set_slice();
	for (uint32_t number = 0;;) {
		number = next_job(number);
		task->bytes = 0;
		task->wrong = 0;
		atomic_fetch_add(&job.started, 1);
		work[job.mode](task);
		if (atomic_fetch_sub(&job.left, 1) == 1)
			futex_wake_all(&job.left);
	}
	return 0;
}

static int worker_main(void *argument)
{
	/* In the background: it takes the time that the tasks leave, and none of theirs. */
	struct sched_param param = { 0 };

	(void)argument;
	syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, &param);
	for (uint32_t number = 0;;) {
		number = next_job(number);
		while (atomic_load_explicit(&job.left, memory_order_relaxed))
			atomic_store_explicit(&job.worker_count, job.worker_count + 1,
					      memory_order_relaxed);
	}
	return 0;
}

/* --- the main thread --- */

/* The beginning of a file, until the next call. */
static const char *file_text(const char *path)
{
	static char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (size < 0)
		die(path);
	close(fd);
	text[size] = '\0';
	return text;
}

/* All that came since the start, the timer's among them. */
static uint64_t interrupts(void)
{
	const char *line = strstr(file_text("/proc/stat"), "\nintr ");

	return line ? strtoull(line + strlen("\nintr "), NULL, 10) : 0;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void start_job(enum mode mode, uint64_t sleep_us)
{
	job.mode = mode;
	job.sleep_us = sleep_us;
	job.worker_count = 0;
	job.started = 0;
	job.left = (uint32_t)option.tasks;
	atomic_fetch_add(&job.number, 1);
	futex_wake_all(&job.number);
}

static void report(enum mode mode, uint64_t elapsed_us)
{
	uint64_t worker = job.worker_count;
	uint64_t bytes = 0, wrong = 0;

	for (uint64_t i = 0; i < option.tasks; i++) {
		bytes += tasks[i].bytes;
		wrong += tasks[i].wrong;
	}
	put("@apf done mode=");
	put(mode_names[mode]);
	put_number(" tasks=", option.tasks);
	put_number(" bytes=", bytes);
	put_number(" wrong=", wrong);
	put_number(" worker=", worker);
	put_number(" elapsed_us=", elapsed_us);
	put("\n");
}

static void go(enum mode mode, uint64_t sleep_us)
{
	uint64_t came = option.ticks ? interrupts() : 0;
	uint64_t ticks = port_ticks();
	uint64_t start = now_us();
	uint32_t left;

	start_job(mode, sleep_us);
	while ((left = atomic_load(&job.left)) != 0)
		futex_wait(&job.left, left);

	uint64_t elapsed = now_us() - start;

	ticks = port_ticks() - ticks;
	if (option.ticks) {
		put_number("@apf ticks interrupts=", interrupts() - came);
		put("\n");
	}
	report(mode, elapsed);
	if (option.clock) {
		put_number("@apf clock monotonic_us=", elapsed);
		put_number(" tsc_us=", (uint64_t)((double)ticks / ticks_per_us));
		put("\n");
	}
}

/* Every task has begun when this thread runs again, so each has met its first missing page. */
static void end_while_faulting(int how)
{
	start_job(MODE_TOUCH, 0);
	while (atomic_load(&job.started) < option.tasks)
		sched_yield();
	end_machine(how);
}

static void obey(const char *line)
{
	static const char sleep_word[] = "go sleep ";

	if (!strcmp(line, "go touch"))
		go(MODE_TOUCH, 0);
	else if (!strcmp(line, "go random"))
		go(MODE_RANDOM, 0);
	else if (!strcmp(line, "go write"))
		go(MODE_WRITE, 0);
	else if (!strncmp(line, sleep_word, sizeof(sleep_word) - 1))
		go(MODE_SLEEP, strtoull(line + sizeof(sleep_word) - 1, NULL, 10));
	else if (!strcmp(line, "off"))
		end_machine(RB_POWER_OFF);
	else if (!strcmp(line, "reset"))
		end_machine(RB_AUTOBOOT);
	else if (!strcmp(line, "fault-and-off"))
		end_while_faulting(RB_POWER_OFF);
	else if (!strcmp(line, "fault-and-reset"))
		end_while_faulting(RB_AUTOBOOT);
	else
		put("@apf error unknown command\n");
}

/* --- start --- */

static void read_option(const char *cmdline, const char *name, uint64_t *value, uint64_t most)
{
	size_t length = strlen(name);

	for (const char *at = cmdline; (at = strstr(at, name)); at += length) {
		if ((at != cmdline && at[-1] != ' ') || at[length] != '=')
			continue;
		*value = strtoull(at + length + 1, NULL, 10);
	}
	if (*value > most) {
		errno = ERANGE;
		die(name);
	}
}

static void read_options(void)
{
	const char *cmdline;

	if (mount("proc", "/proc", "proc", 0, NULL))
		die("mount /proc");
	cmdline = file_text("/proc/cmdline");
	read_option(cmdline, "tasks", &option.tasks, MAX_TASKS);
	read_option(cmdline, "pages", &option.pages, MAX_PAGES);
	read_option(cmdline, "worker", &option.worker, 1);
	read_option(cmdline, "slice", &option.slice, 100);
	read_option(cmdline, "seed", &option.seed, UINT64_MAX);
	read_option(cmdline, "clock", &option.clock, 1);
	read_option(cmdline, "ticks", &option.ticks, 1);
	if (!option.tasks || !option.pages) {
		errno = ERANGE;
		die("tasks and pages");
	}
}

static void *allocate(size_t size, const char *what)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die(what);
	/* Small pages, so that the walks through the guest's own page tables are faults, too. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

static void fill_memory(void)
{
	uint64_t *data = allocate(option.tasks * option.pages * PAGE_SIZE, "data");

	tasks = allocate(option.tasks * sizeof(*tasks), "tasks");
	for (uint64_t i = 0; i < option.tasks; i++) {
		tasks[i].data = data + i * option.pages * PAGE_WORDS;
		tasks[i].first_page = i * option.pages;
		for (uint64_t page = 0; page < option.pages; page++)
			fill_page(&tasks[i], page);
	}
}

static void calibrate(void)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	uint64_t start = now_us(), ticks = port_ticks();

	nanosleep(&pause, NULL);
	ticks = port_ticks() - ticks;
	ticks_per_us = (double)ticks / (double)(now_us() - start);
}

int main(void)
{
	static char line[64];

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (!port_open())
		end_machine(RB_POWER_OFF);
	/* The kernel's driver would take the input if it was told of it. */
	port_write(UART_IER, 0);
	read_options();
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	fill_memory();
	for (uint64_t i = 0; i < option.tasks; i++)
		start_thread(task_main, &tasks[i]);
	if (option.worker)
		start_thread(worker_main, NULL);
	while (atomic_load(&job.waiting) < option.tasks + option.worker)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	if (option.clock)
		calibrate();

	put_number("@apf ready tasks=", option.tasks);
	put_number(" pages=", option.pages);
	put("\n");
	for (;;) {
		read_line(line, sizeof(line));
		obey(line);
	}
}
