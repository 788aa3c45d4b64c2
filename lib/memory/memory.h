/* SPDX-License-Identifier: MIT */
/*
 * Inside memory/. Who owns what:
 *
 *   any thread      reads the residency map, moves a page from MISSING to WANTED and
 *                   puts its number into the want queue (map.c)
 *   the pager       everything else: takes pages out of the queue, reads them, maps
 *                   them, traps, and is the only one that changes a WANTED, RESIDENT
 *                   or LOST page (trap.c, fetch.c, pager.c, discard.c)
 *
 * So the map is the only state that threads share, and no lock stands on the way
 * of a fault.
 *
 * In here a page is what is fetched, trapped and mapped at once: the host's page, or
 * the bigger one of the configuration. Callers count in pages of 4 KiB, whatever the
 * host ("small" in here); the functions of include/apf/memory.h translate.
 */
#ifndef MEMORY_MEMORY_H
#define MEMORY_MEMORY_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <apf/memory.h>
#include <apf/store.h>

#include "store/loop.h"

#define CHUNK_BYTES	(2u << 20)	/* what one table of 4 KiB pages maps: armed in one go */
#define WANT_SLOTS	8192u	/* requests that the pager has not seen yet */
#define TURN_PAGES	1024u	/* requests that one turn of the pager takes */
#define BATCH_PAGES	1024u	/* results in one call of done */

/* A page's byte in the map. Zero is what a fresh mapping holds: creation costs nothing. */
enum {
	PAGE_MISSING,
	PAGE_WANTED,		/* queued or being read */
	PAGE_RESIDENT,		/* visible in A, may be read through C */
	PAGE_LOST,
	PAGE_STATE = 3,		/* mask */
	/* The pager's own bits. */
	PAGE_B_WAITS = 4,	/* with WANTED: an access to B blocks on it */
	PAGE_ZERO = 8,		/* with MISSING and WANTED: discarded, the store is not asked */
};

/* Many threads put, the pager takes; see map.c. */
struct want_queue {
	_Atomic uint32_t used;		/* slots that are taken or promised */
	_Atomic uint32_t tail;
	uint32_t head;			/* the pager's */
	_Atomic uint64_t slot[WANT_SLOTS];	/* page + 1; 0: empty */
};

/* One read of contiguous pages, from the request until they are placed or lost. */
struct fetch {
	struct apf_io io;
	struct apf_mem *mem;
	uint64_t page;
	uint32_t n;
	uint32_t tries;			/* that failed */
	int res;
	struct fetch *next;
};

struct fetch_list {
	struct fetch *first, **last;
};

/* The pager's books about fetches; see fetch.c. */
struct fetcher {
	struct fetch *pool;		/* reserved, filled by use */
	uint32_t pool_size, pool_used;	/* fetches that exist; that were ever handed out */
	struct fetch *free;
	struct fetch_list ready;	/* to be submitted */
	struct fetch_list finished;	/* read or failed, to be looked at in the next turn */
	uint32_t reading;		/* submitted */
	uint64_t wanted[TURN_PAGES];	/* this turn's */
	uint32_t n_wanted;
	struct apf_mem_done batch[BATCH_PAGES];
	uint32_t n_batch;
};

struct counters {
	_Atomic uint64_t fetched, zero, reads, retries, failed, blocked, armed;
	_Atomic uint32_t in_flight, max_in_flight;
};

struct apf_mem {
	struct apf_mem_config cfg;	/* defaults filled in */
	uint64_t pages;
	uint32_t page_shift;
	uint32_t host_page;		/* bytes: the unit of the kernel's calls */

	int fd;				/* the memfd */
	char *a, *b, *c;		/* its views */

	_Atomic uint8_t *map;		/* one byte a page; NULL: all resident (APF_TRAP_NONE) */
	_Atomic uint64_t *dirty;	/* one bit a page of the host: see dirty.c */
	struct want_queue want;
	pthread_mutex_t lock;		/* of cond and lost_text; never on the path of a fault */
	pthread_cond_t cond;		/* pages came or were lost, for apf_mem_need */
	_Atomic uint32_t waiters;	/* threads that wait for cond */
	char lost_text[512];

	int uffd;			/* -1 with APF_TRAP_NONE */
	_Atomic bool cut_off;		/* view A is gone */
	int empty_fd;			/* what lost pages map where there is no POISON, else -1 */
	bool events;			/* uffd has something to read */
	struct apf_loop_op uffd_op;
	struct apf_timer uffd_timer;	/* when the ring had no room for the poll */
	uint8_t *armed;			/* one byte a chunk: markers are set */
	uint64_t arm_next;		/* chunk that idle moments look at next */
	struct apf_timer arm_timer;

	struct fetcher fetcher;
	struct counters count;

	pthread_t thread;
	struct apf_loop *loop;
	struct after *afters;		/* of apf_mem_after, not called yet */
	sem_t started;
	int start_result;
	char start_error[512];
};

/* ram.c: the memfd and its views. */
int apf_ram_open(struct apf_mem *m);
int apf_ram_map(struct apf_mem *m, char *view, uint64_t offset, uint64_t len);
int apf_ram_punch(struct apf_mem *m, uint64_t page, uint64_t n);
void apf_ram_close(struct apf_mem *m);

/* dirty.c: pages that we wrote. */
int apf_dirty_open(struct apf_mem *m);
void apf_dirty_close(struct apf_mem *m);
void apf_dirty_mark(struct apf_mem *m, uint64_t offset, uint64_t len);

/* map.c: residency. */
int apf_map_open(struct apf_mem *m);
void apf_map_close(struct apf_mem *m);
uint8_t apf_map_state(const struct apf_mem *m, uint64_t page);
bool apf_map_zero(const struct apf_mem *m, uint64_t page);
bool apf_map_resident(const struct apf_mem *m, uint64_t page);
void apf_map_set(struct apf_mem *m, uint64_t page, uint8_t byte);
bool apf_map_claim(struct apf_mem *m, uint64_t page);
int apf_map_want_all(struct apf_mem *m, uint64_t small, uint64_t n);
bool apf_want_take(struct apf_mem *m, uint64_t *page);
bool apf_want_pending(const struct apf_mem *m);
void apf_map_wake_waiters(struct apf_mem *m);

/* trap.c: userfaultfd. All but open and close on the pager's thread. */
int apf_trap_open(struct apf_mem *m);
void apf_trap_close(struct apf_mem *m);
void apf_trap_start(struct apf_mem *m);
int apf_trap_place(struct apf_mem *m, uint64_t page, uint32_t n, bool zero);
void apf_trap_release_b(struct apf_mem *m, uint64_t page);
void apf_trap_poison(struct apf_mem *m, uint64_t page);
void apf_trap_unpoison(struct apf_mem *m, uint64_t page);
void apf_trap_again(struct apf_mem *m, uint64_t page, uint64_t n);
void apf_trap_arm(struct apf_mem *m, uint64_t page, uint64_t end);
void apf_trap_events(struct apf_mem *m);

/* fetch.c: the scheduler. All but open and close on the pager's thread. */
int apf_fetch_open(struct apf_mem *m);
void apf_fetch_close(struct apf_mem *m);
uint32_t apf_fetch_room(const struct apf_mem *m);
void apf_fetch_want(struct apf_mem *m, uint64_t page);
void apf_fetch_finish(struct apf_mem *m);
bool apf_fetch_start(struct apf_mem *m);
uint64_t apf_fetch_backoff(const struct apf_mem *m, uint32_t tries);

/* pager.c: the thread. */
int apf_pager_start(struct apf_mem *m);
void apf_pager_stop(struct apf_mem *m);
/* Have the pager do this between two turns, and wait for it. Not the pager's own thread. */
void apf_pager_do(struct apf_mem *m, void (*fn)(void *arg), void *arg);

/* Where a page begins in RAM and in each view. */
static inline uint64_t page_offset(const struct apf_mem *m, uint64_t page)
{
	return page << m->page_shift;
}

/* A page's first small page; also so many pages as a number of small ones. */
static inline uint64_t small_of(const struct apf_mem *m, uint64_t page)
{
	return page << (m->page_shift - APF_PAGE_SHIFT);
}

/* One behind the last page of the chunk that this one lies in. */
static inline uint64_t chunk_end(const struct apf_mem *m, uint64_t page)
{
	uint64_t n = CHUNK_BYTES >> m->page_shift;

	return (page / n + 1) * n;
}

static inline uint64_t page_of_small(const struct apf_mem *m, uint64_t small)
{
	return small >> (m->page_shift - APF_PAGE_SHIFT);
}

static inline void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

#endif
