/* SPDX-License-Identifier: MIT */
/* Putting guest RAM together and taking it apart; numbers and texts about it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "memory/memory.h"

#define MAX_FETCHES	4096u
#define MAX_BATCH	1024u
#define DEFAULT_BATCH	16u
#define DEFAULT_RETRIES	8u
#define DEFAULT_RETRY_NS	10000000u
#define MAX_RETRY_NS	60000000000u

static void fill_in_defaults(struct apf_mem_config *cfg)
{
	cfg->max_fetches = cfg->max_fetches ? cfg->max_fetches : MAX_FETCHES;
	cfg->batch_pages = cfg->batch_pages ? cfg->batch_pages : DEFAULT_BATCH;
	cfg->retries = cfg->retries ? cfg->retries : DEFAULT_RETRIES;
	cfg->retry_ns = cfg->retry_ns ? cfg->retry_ns : DEFAULT_RETRY_NS;
}

/*
 * The page is the host's: userfaultfd, markers and mappings know no smaller unit. A
 * bigger one is several of them that are always treated alike.
 */
static int choose_page(struct apf_mem *m)
{
	uint32_t size = m->cfg.page_size;

	m->host_page = (uint32_t)sysconf(_SC_PAGESIZE);
	size = size ? size : m->host_page;
	if ((size & (size - 1)) || size < m->host_page || size > CHUNK_BYTES)
		return apf_error_set(-EINVAL, "page_size %u is not a power of two from the host's "
				     "page, %u, to %u", size, m->host_page, CHUNK_BYTES);
	m->page_shift = (uint32_t)__builtin_ctz(size);
	if (!m->cfg.size || m->cfg.size % size || m->cfg.size > INT64_MAX / 2)
		return apf_error_set(-EINVAL, "RAM of %llu bytes is not a multiple of the page, %u",
				     (unsigned long long)m->cfg.size, size);
	m->pages = m->cfg.size >> m->page_shift;
	return 0;
}

static int check(const struct apf_mem_config *cfg)
{
	if (cfg->trap > APF_TRAP_POISON || !cfg->store != (cfg->trap == APF_TRAP_NONE))
		return apf_error_set(-EINVAL, "a store goes with a trap, and only with one");
	if (cfg->store && cfg->store->size < cfg->size)
		return apf_error_set(-EINVAL, "store %s holds %llu bytes, RAM has %llu",
				     cfg->store->ops->name,
				     (unsigned long long)cfg->store->size,
				     (unsigned long long)cfg->size);
	if (cfg->batch_pages > MAX_BATCH || cfg->retry_ns > MAX_RETRY_NS)
		return apf_error_set(-EINVAL, "batch_pages is above %u or retry_ns above a minute",
				     MAX_BATCH);
	return 0;
}

int apf_mem_create(const struct apf_mem_config *cfg, struct apf_mem **out)
{
	struct apf_mem *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return apf_error_set(-ENOMEM, "no memory to describe guest RAM");
	m->cfg = *cfg;
	fill_in_defaults(&m->cfg);
	r = choose_page(m);
	if (!r)
		r = check(&m->cfg);
	if (r < 0)
		goto free_mem;
	r = apf_ram_open(m);
	if (r < 0)
		goto free_mem;
	r = apf_dirty_open(m);
	if (r < 0)
		goto close_ram;
	r = apf_map_open(m);
	if (r < 0)
		goto close_dirty;
	r = apf_fetch_open(m);
	if (r < 0)
		goto close_map;
	r = apf_trap_open(m);
	if (r < 0)
		goto close_fetch;
	r = apf_pager_start(m);
	if (r < 0)
		goto close_trap;
	*out = m;
	return 0;
close_trap:
	apf_trap_close(m);
close_fetch:
	apf_fetch_close(m);
close_map:
	apf_map_close(m);
close_dirty:
	apf_dirty_close(m);
close_ram:
	apf_ram_close(m);
free_mem:
	free(m);
	return r;
}

/* The views go before the userfaultfd: a touch that comes too late must fail, not read zeroes. */
void apf_mem_destroy(struct apf_mem *m)
{
	apf_pager_stop(m);
	apf_ram_close(m);
	apf_trap_close(m);
	apf_fetch_close(m);
	apf_map_close(m);
	apf_dirty_close(m);
	free(m);
}

void apf_mem_stats(const struct apf_mem *m, struct apf_mem_stats *s)
{
	const struct counters *c = &m->count;

	*s = (struct apf_mem_stats){
		.fetched = small_of(m, c->fetched), .zero = small_of(m, c->zero),
		.reads = c->reads, .retries = c->retries, .failed = small_of(m, c->failed),
		.blocked = c->blocked, .armed = c->armed,
		.in_flight = (uint32_t)small_of(m, c->in_flight),
		.max_in_flight = (uint32_t)small_of(m, c->max_in_flight),
	};
}

/* A copy per thread, since the pager may lose the next page at any moment. */
const char *apf_mem_lost_text(const struct apf_mem *m)
{
	static _Thread_local char text[sizeof(m->lost_text)];
	pthread_mutex_t *lock = (pthread_mutex_t *)&m->lock;

	pthread_mutex_lock(lock);
	memcpy(text, m->lost_text, sizeof(text));
	pthread_mutex_unlock(lock);
	return text;
}
