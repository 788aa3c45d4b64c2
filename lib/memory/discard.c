/* SPDX-License-Identifier: MIT */
/*
 * Giving pages back: from now on they are zero, whatever the store has. Such a page
 * is missing as it was before it came, with the difference (PAGE_ZERO) that the store
 * is not asked. The pager does it, for it alone may take a page out of the views; by
 * chunks, so that no fault waits long.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include <apf/error.h>

#include "memory/memory.h"

struct discard {
	struct apf_mem *mem;
	uint64_t page, n;		/* inside one chunk */
	int res;
};

/*
 * What is on its way stays so, and is zero when it ends. The state changes before the page
 * goes: a touch in between may still find it, a touch after that is told "missing".
 */
static void set_zero(struct apf_mem *m, uint64_t page)
{
	uint8_t was = atomic_fetch_or(&m->map[page], PAGE_ZERO) & PAGE_STATE;

	if (was == PAGE_MISSING || was == PAGE_WANTED)
		return;
	apf_map_set(m, page, PAGE_MISSING | PAGE_ZERO);
	if (was == PAGE_LOST)
		apf_trap_unpoison(m, page);
}

static int punch(struct apf_mem *m, uint64_t page, uint64_t n)
{
	int r = apf_ram_punch(m, page, n);

	apf_dirty_mark(m, page_offset(m, page), page_offset(m, n));
	return r;
}

static void discard_chunk(void *arg)
{
	struct discard *d = arg;
	struct apf_mem *m = d->mem;

	for (uint64_t page = d->page; page < d->page + d->n; page++)
		set_zero(m, page);
	d->res = punch(m, d->page, d->n);
	apf_trap_again(m, d->page, d->n);
}

static int discard(struct apf_mem *m, uint64_t page, uint64_t n)
{
	struct discard d = { .mem = m, .page = page, .n = n };

	if (!m->map)
		return punch(m, page, n);
	apf_pager_do(m, discard_chunk, &d);
	return d.res;
}

int apf_mem_discard(struct apf_mem *m, uint64_t small, uint64_t n)
{
	uint64_t all = small_of(m, m->pages), page = page_of_small(m, small), end, next;
	int r = 0;

	if (small > all || n > all - small)
		return apf_error_set(-ERANGE, "discard: pages %" PRIu64 "+%" PRIu64 " are not inside "
				     "RAM of %" PRIu64 " pages", small, n, all);
	end = page_of_small(m, small + n);
	if (small_of(m, page) != small || small_of(m, end) != small + n)
		return apf_error_set(-EINVAL, "discard: pages %" PRIu64 "+%" PRIu64 " are not whole "
				     "pages of %u bytes", small, n, apf_mem_page_size(m));
	for (; page < end && !r; page = next) {
		next = chunk_end(m, page) < end ? chunk_end(m, page) : end;
		r = discard(m, page, next - page);
	}
	if (r < 0)
		apf_error_set(r, "discard: RAM's memory cannot be given back: %s", strerror(-r));
	return r;
}
