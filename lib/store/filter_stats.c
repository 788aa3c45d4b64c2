/* SPDX-License-Identifier: MIT */
/* Filter: count what passes, and how long it took. */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include <apf/error.h>

#include "store/builtin.h"

#define BUCKETS	32

/* Written by the loop's thread only, read by any: atomic, but nothing more. */
struct counters {
	_Atomic uint64_t requests, pages, zero_pages, errors;
	_Atomic uint64_t bucket[BUCKETS];	/* i: took less than 2^i us, at least half of it */
};

static void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static void stats_done(struct apf_io *io, int res)
{
	struct apf_store *s = io->frame[io->depth].ctx;
	struct counters *p = s->state;
	uint64_t us = (apf_clock_ns() - io->frame[io->depth].note) / 1000;
	int log2 = us ? 64 - __builtin_clzll(us) : 0;

	count(&p->bucket[log2 < BUCKETS ? log2 : BUCKETS - 1], 1);
	if (res < 0)
		count(&p->errors, 1);
	else
		count(&p->pages, io->len >> APF_PAGE_SHIFT);
	if (res == APF_IO_ZERO)
		count(&p->zero_pages, io->len >> APF_PAGE_SHIFT);
	apf_io_complete(io, res);
}

static void stats_submit(struct apf_store *s, struct apf_io *io)
{
	struct counters *p = s->state;

	count(&p->requests, 1);
	apf_io_push(io, stats_done, s, apf_clock_ns());
	s->below->ops->submit(s->below, io);
}

static int stats_open(struct apf_store *s, const char *arg)
{
	return arg ? apf_error_set(-EINVAL, "filter stats takes no argument") : 0;
}

/* Where the next piece of text goes, even when buf was too small for the last. */
static size_t room(size_t size, int used)
{
	return (size_t)used < size ? size - (size_t)used : 0;
}

static int stats_print(struct apf_store *s, char *buf, size_t size)
{
	struct counters *p = s->state;
	int last = BUCKETS - 1, n;

	while (last && !atomic_load_explicit(&p->bucket[last], memory_order_relaxed))
		last--;
	n = snprintf(buf, size, "{\"requests\": %" PRIu64 ", \"pages\": %" PRIu64
		     ", \"zero_pages\": %" PRIu64 ", \"errors\": %" PRIu64
		     ", \"latency_log2_us\": [", p->requests, p->pages, p->zero_pages, p->errors);
	for (int i = 0; i <= last; i++)
		n += snprintf(room(size, n) ? buf + n : NULL, room(size, n), "%s%" PRIu64,
			      i ? ", " : "", p->bucket[i]);
	return n + snprintf(room(size, n) ? buf + n : NULL, room(size, n), "]}");
}

static void stats_close(struct apf_store *s)
{
}

const struct apf_store_ops apf_store_stats = {
	.version = APF_STORE_VERSION,
	.name = "stats",
	.filter = true,
	.state_size = sizeof(struct counters),
	.open = stats_open,
	.submit = stats_submit,
	.stats = stats_print,
	.close = stats_close,
};
