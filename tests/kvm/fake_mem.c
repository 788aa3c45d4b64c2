/* SPDX-License-Identifier: MIT */
/* The memory that the binding asks for pages: they come when the test says so. */
#include <errno.h>

#include <tests/support/guest_memory.h>

#include "fake.h"

static struct fake *of(const struct apf_mem *m)
{
	return (struct fake *)m;
}

uint64_t apf_mem_size(const struct apf_mem *m)
{
	return sizeof(of(m)->ram);
}

uint32_t apf_mem_page_size(const struct apf_mem *m)
{
	return 4096;
}

uint64_t apf_mem_page_of(const struct apf_mem *m, const void *addr)
{
	return (uint64_t)((const uint8_t *)addr - of(m)->ram) / 4096;
}

bool apf_mem_resident(const struct apf_mem *m, uint64_t page)
{
	return of(m)->here[page];
}

int apf_mem_want(struct apf_mem *m, uint64_t page)
{
	struct fake *g = of(m);

	if (g->full) {
		g->full--;
		if (++g->refused > 1000)
			fail_msg("the queue is asked for ever");
		return -EAGAIN;
	}
	if (g->lost[page])
		return -EIO;
	if (g->here[page])
		return 1;
	g->wanted[page]++;
	g->here[page] = g->comes == page;
	return 0;
}

/* What is waited for comes at once. */
int apf_mem_need(struct apf_mem *m, uint64_t page, uint64_t n)
{
	for (uint64_t i = page; i < page + n; i++) {
		if (of(m)->lost[i])
			return -EIO;
		of(m)->here[i] = true;
	}
	return 0;
}

/* By offset, as the interface has it, not by address. */
static struct guest_memory memory_of(const struct apf_mem *m)
{
	return (struct guest_memory){ .bytes = of(m)->ram, .size = sizeof(of(m)->ram),
				      .here = of(m)->here };
}

int apf_mem_read(const struct apf_mem *m, uint64_t offset, void *buf, size_t len)
{
	const struct guest_memory memory = memory_of(m);

	return guest_memory_read(&memory, offset, buf, len);
}

int apf_mem_write(struct apf_mem *m, uint64_t offset, const void *buf, size_t len)
{
	const struct guest_memory memory = memory_of(m);

	return guest_memory_write(&memory, offset, buf, len);
}

int apf_mem_after(struct apf_mem *m, uint64_t ns, void (*fn)(void *arg), void *arg)
{
	struct fake *g = of(m);

	assert_null(g->later);
	g->later = fn;
	g->later_arg = arg;
	g->later_ns = ns;
	return 0;
}

void apf_mem_set_done(struct apf_mem *m,
		      void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n),
		      void *ctx)
{
	of(m)->done = done;
	of(m)->done_ctx = ctx;
}

const char *apf_mem_lost_text(const struct apf_mem *m)
{
	return "the fake lost it";
}

void fake_timer(struct fake *g)
{
	void (*fn)(void *arg) = g->later;

	assert_non_null(fn);
	g->later = NULL;
	fn(g->later_arg);
}

void fake_page_comes(unsigned int page, int res)
{
	struct apf_mem_done d = { .page = page, .res = res };

	fake.here[page] = !res;
	fake.lost[page] = res;
	fake.done(fake.done_ctx, &d, 1);
}

void fake_pages_come(struct fake *g)
{
	for (unsigned int i = 0; i < FAKE_PAGES; i++)
		if (g->wanted[i] && !g->here[i] && !g->lost[i])
			fake_page_comes(i, 0);
}
