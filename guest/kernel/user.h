/* SPDX-License-Identifier: MIT */
/* What user mode (user.c) and the kernel share: the job, the tasks' records, system calls. */
#ifndef KERNEL_USER_H
#define KERNEL_USER_H

#include <stdint.h>

#if defined(__aarch64__)
#include "arm64_user.h"
#else
#include "x86_user.h"
#endif

/* With up to two arguments. */
enum syscall {
	SYS_WAIT,		/* (uint32_t *word, value): sleep while *word is value, until a wake */
	SYS_WAKE,		/* (uint32_t *word): wake all who wait on it */
	SYS_SLEEP,		/* (us) */
	SYS_TOUCH,		/* (uint64_t *word, how): its value, read in kernel mode */
};

/* How SYS_TOUCH reads. */
enum touch {
	TOUCH_PLAIN,		/* interrupts are on */
	TOUCH_ATOMIC,		/* the same, but the kernel cannot schedule (L9) */
	TOUCH_SHADOW,		/* x86: in the interrupt shadow (C4) */
	TOUCH_IRQ_OFF,
	TOUCH_BUSY,		/* arm64: while the busy word is set (A11) */
	TOUCH_REGION,		/* arm64: in a no-fault region (A10) */
};

enum mode {
	MODE_FILL,		/* write the data; once, before "@apf ready" */
	MODE_TOUCH,		/* verify in order */
	MODE_RANDOM,		/* verify in a shuffled order */
	MODE_WRITE,		/* first touch is a locked write; verify, change all, verify */
	MODE_SLEEP,		/* sleep for each page instead */
	MODE_WORK,		/* compute, and touch no memory */
	MODE_PIPE,		/* pairs of tasks: one verifies and changes, the other verifies that */
	MODE_SHARED,		/* pairs of tasks verify the same pages, in the same order */
	MODE_KERNEL,		/* the first touch of a page is made by a system call */
	MODE_ATOMIC,		/* the same, with TOUCH_ATOMIC, ... */
	MODE_SHADOW,
	MODE_IRQ_OFF,
	MODE_BUSY,
	MODE_REGION,
	MODE_COUNT
};

struct user_task {
	uint64_t *data;
	struct user_task *peer;		/* the other end of the pipe, or NULL */
	uint64_t first_page;		/* number of data[0]'s page over all tasks */
	uint64_t generation;		/* how often the data was changed */
	uint64_t bytes;			/* verified in the last job */
	uint64_t wrong;
	uint32_t filled, drained;	/* pages that went into and out of the pipe; wait words */
	uint32_t is_producer;
} __attribute__((aligned(64)));

struct user_job {
	uint32_t number;		/* of the current job, 0: none yet; wait word */
	uint32_t started;		/* tasks that have begun the job */
	uint32_t left;			/* tasks that have not finished it; wait word */
	uint32_t mode;
	uint64_t sleep_us;
	uint64_t seed, pages;
	uint64_t worker_count;
};

extern struct user_job user_job;

/* Entry points in user mode. */
void user_task_main(struct user_task *task);
void user_worker_main(void);

#endif
