/* SPDX-License-Identifier: MIT */
/*
 * A store that the test steers ("fake"): it makes up its pages, counts how often
 * each is read, holds reads back until told, fails them to order. Also RAM made
 * with it, and a `done` that can be waited for.
 */
#ifndef TESTS_MEMORY_FAKE_H
#define TESTS_MEMORY_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <apf/error.h>
#include <apf/memory.h>
#include <apf/store.h>

#define FAKE_PAGES	65536u	/* largest RAM on a fake store: 256 MiB */
#define MS		1000000ull

struct fake {
	/* Set these before the store is used. */
	uint64_t pages;			/* its size; 0: FAKE_PAGES */
	int (*result)(uint64_t page, unsigned int attempt);	/* 0, APF_IO_ZERO, negative errno */
	bool explains;			/* why a read failed, all in one place */
	bool copies;			/* it can copy pages to a file itself */
	atomic_bool scribble;		/* a read first writes junk, whatever comes of it */
	/* Results. */
	atomic_uint reads[FAKE_PAGES];	/* of each page */
	atomic_uint copied;		/* pages, by itself */
	atomic_uint requests, running, most_running, biggest;
	atomic_bool hold;		/* reads stay until fake_release */
};

extern struct fake fake;

/*
 * Bytes of a page in all tests: the host's page, or what APF_TEST_PAGE_SIZE says. The
 * small pages of page n have the numbers from n * SMALL on.
 */
extern uint32_t page_size;
#define SMALL	(page_size / APF_PAGE_SIZE)
#define CHUNK	((2u << 20) / page_size)	/* pages that are armed in one go */

/* The calls of the interface, with numbers and counts of such pages. */
int want(struct apf_mem *m, uint64_t n);
int need(struct apf_mem *m, uint64_t n, uint64_t count);
bool resident(const struct apf_mem *m, uint64_t n);
struct apf_mem_stats stats(const struct apf_mem *m);

/* What page n of a fake store or of a file made by fake_file holds. */
void fake_fill(void *page, uint64_t n);
bool fake_is_page(const void *page, uint64_t n);
bool fake_is_zero(const void *page);

/* Back to nothing; call it before each test. */
int fake_reset(void **state);

/* Let all held reads go, and those that come later. */
void fake_release(void);
/* Wait until so many reads are held or running. */
void fake_wait_running(unsigned int n);

/* A file with n such pages; path must have 64 bytes. Returns its fd. */
int fake_file(const char *dir, char *path, uint64_t n);

/* Results that `done` was called with; a page counts with the last of its small pages. */
struct results {
	atomic_uint calls, n, lost;
	atomic_int last_res;
	_Atomic uint64_t last_page;
};

void results_done(void *ctx, const struct apf_mem_done *d, unsigned int n);
void results_wait(struct results *r, unsigned int n);

/*
 * First thing in main: settles page_size. Does this kernel, or this user, lack what the
 * tests need? Then the plan "nothing, because" has been printed and main returns 0. (A
 * test that calls skip() would count as failed: cmocka 1.1.5 prints "not ok # SKIP".)
 */
bool kernel_lacks_something(void);

/*
 * RAM of so many pages on a store specification (NULL: the fake store), done set
 * to results_done.
 */
struct apf_mem *ram_on(const char *spec, uint64_t pages, enum apf_trap trap, struct results *r);
struct apf_mem *ram_with(struct apf_mem_config cfg, const char *spec, struct results *r);

/* Keep the pager busy from now until pager_go: requests pile up. */
void pager_stop_in(struct apf_mem *m);
void pager_go(void);

void sleep_ms(unsigned int ms);
uint64_t now_ns(void);

#endif
