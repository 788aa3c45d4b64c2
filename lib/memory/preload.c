/* SPDX-License-Identifier: MIT */
/* Fetching a known working set in one go, before the VM needs it page by page. */
#include <errno.h>

#include <apf/error.h>

#include "memory/memory.h"

struct arming {
	struct apf_mem *mem;
	const struct apf_mem_range *ranges;
	size_t n;
};

static void arm_ranges(void *arg)
{
	struct arming *a = arg;

	for (size_t i = 0; i < a->n; i++) {
		const struct apf_mem_range *r = &a->ranges[i];

		if (r->n)
			apf_trap_arm(a->mem, page_of_small(a->mem, r->page),
				     page_of_small(a->mem, r->page + r->n - 1) + 1);
	}
}

/*
 * What is missing near pages that the VM is known to need is touched early: it shall meet a marker
 * at once, and no thread of KVM's shall sleep at a page whose marker is just being set.
 */
static void arm(struct apf_mem *m, const struct apf_mem_range *ranges, size_t n)
{
	struct arming a = { .mem = m, .ranges = ranges, .n = n };

	apf_pager_do(m, arm_ranges, &a);
}

int apf_mem_preload(struct apf_mem *m, const struct apf_mem_range *ranges, size_t n)
{
	uint64_t all = small_of(m, m->pages);
	int err = 0;

	for (size_t i = 0; i < n; i++)
		if (ranges[i].page > all || ranges[i].n > all - ranges[i].page)
			return apf_error_set(-ERANGE, "preload: pages %llu+%llu are not inside RAM of "
					     "%llu pages", (unsigned long long)ranges[i].page,
					     (unsigned long long)ranges[i].n,
					     (unsigned long long)all);
	for (size_t i = 0; i < n && !err; i++)	/* all on their way before the first wait */
		err = apf_map_want_all(m, ranges[i].page, ranges[i].n);
	for (size_t i = 0; i < n && !err; i++)
		err = apf_mem_need(m, ranges[i].page, ranges[i].n);
	if (err)
		return apf_error_set(err, "preload: %s", apf_mem_lost_text(m));
	if (m->cfg.trap == APF_TRAP_POISON)
		arm(m, ranges, n);
	atomic_store(&m->count.max_in_flight, 0);
	return 0;
}
