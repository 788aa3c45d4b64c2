/* SPDX-License-Identifier: MIT */
/*
 * The far end of the guest's serial line: passes bytes on, cuts them into lines,
 * time-stamps marks, and looks out for the line that ends the VM. Pure but for
 * the writes to out_fd.
 *
 * Nothing here waits for who reads the output. What a reader does not take at once is kept,
 * up to VMM_OUT_MAX; what comes then is dropped, and a line in the output says how much.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer lines are cut into several. */
#define VMM_LINE_MAX	4096u
/* Bytes of output that are kept for a slow reader. */
#define VMM_OUT_MAX	(1u << 20)

struct vmm_console_config {
	int out_fd;			/* borrowed, its flags stay as they are; -1: nowhere */
	const char *const *marks;	/* borrowed: prefixes of lines to time-stamp */
	unsigned int nr_marks;
	const char *until;		/* borrowed: text of the line to report; or NULL */
	void (*until_seen)(void *ctx, const char *line);
	void *ctx;
	uint64_t start_ns;		/* CLOCK_MONOTONIC that marks count from */
};

struct vmm_mark {
	struct vmm_mark *next;
	uint64_t ns;			/* since start_ns */
	char text[];
};

struct vmm_console {
	struct vmm_console_config cfg;
	pthread_mutex_t lock;		/* of everything below */
	char line[VMM_LINE_MAX + 1];
	size_t line_len;
	int fd;				/* out_fd opened again, so that it does not block, if it can be */
	bool own_fd;
	char *out;			/* VMM_OUT_MAX bytes: [out_pos, out_len) are to be written */
	size_t out_pos, out_len;
	uint64_t out_dropped;		/* bytes since out was full, not told yet */
	struct vmm_mark *marks, **marks_end;
	size_t marks_bytes;
	uint64_t marks_dropped;		/* a guest may not fill the host's memory with marks */
	char *seen;			/* the last lines, each with '\n', for vmm_console_seen */
	size_t seen_len;
};

/* 0 or -ENOMEM. cfg is copied, what it points to is borrowed. */
int vmm_console_init(struct vmm_console *c, const struct vmm_console_config *cfg);
void vmm_console_destroy(struct vmm_console *c);

/* A byte from the guest. Any thread. */
void vmm_console_put(struct vmm_console *c, char byte);
/* Write out what is still buffered, as far as it can be without waiting. Any thread. */
void vmm_console_flush(struct vmm_console *c);
/* A descriptor that vmm_console_flush should be called for when it can be written to; -1: none. Any thread. */
int vmm_console_waits_for(struct vmm_console *c);
/* Write out what is still buffered, waiting for the reader at most this long. Any thread. */
void vmm_console_drain(struct vmm_console *c, unsigned int ms);

/* Was there a complete line that contains text (among the last 256 KiB)? Any thread. */
bool vmm_console_seen(struct vmm_console *c, const char *text);

/* The marks so far, oldest first; stable while no guest runs. */
const struct vmm_mark *vmm_console_marks(const struct vmm_console *c);

/* The line begun but not ended; for snapshots. size of buf: VMM_LINE_MAX. Returns its length. */
size_t vmm_console_partial(struct vmm_console *c, char *buf);
void vmm_console_set_partial(struct vmm_console *c, const char *buf, size_t len);

#endif
