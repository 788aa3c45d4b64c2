/* SPDX-License-Identifier: MIT */
/* Fetching a known working set in one go, before the VM needs it page by page. */
#include <errno.h>
#include <time.h>

#include <apf/error.h>

#include "memory/memory.h"

/* How long to stand back when the want queue is full: the pager empties it every turn. */
#define QUEUE_FULL_NS	200000

static int want_all(struct apf_mem *m, const struct apf_mem_range *r)
{
	const struct timespec pause = { .tv_nsec = QUEUE_FULL_NS };
	int err = 0;

	for (uint64_t i = 0; i < r->n && err >= 0; i++)
		while ((err = apf_mem_want(m, r->page + i)) == -EAGAIN)
			nanosleep(&pause, NULL);
	return err < 0 ? err : 0;
}

int apf_mem_preload(struct apf_mem *m, const struct apf_mem_range *ranges, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n; i++)
		if (ranges[i].page > m->pages || ranges[i].n > m->pages - ranges[i].page)
			return apf_error_set(-ERANGE, "preload: pages %llu+%llu are not inside RAM of "
					     "%llu pages", (unsigned long long)ranges[i].page,
					     (unsigned long long)ranges[i].n,
					     (unsigned long long)m->pages);
	for (size_t i = 0; i < n && !err; i++)	/* all on their way before the first wait */
		err = want_all(m, &ranges[i]);
	for (size_t i = 0; i < n && !err; i++)
		err = apf_mem_need(m, ranges[i].page, ranges[i].n);
	if (err)
		return apf_error_set(err, "preload: %s", apf_mem_lost_text(m));
	atomic_store(&m->count.max_in_flight, 0);
	return 0;
}
