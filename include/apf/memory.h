/* SPDX-License-Identifier: MIT */
/*
 * Guest RAM: one memfd in three views, a map of what is resident, the trap that
 * makes a touch of a missing page visible, and the pager that gets pages.
 *
 * View A is for KVM's memory slots only. View B is the VMM's and its devices':
 * an access to a missing page there blocks until it has come. View C is the
 * pager's own.
 *
 * One thread, the pager, does all fetches: an io_uring reads pages straight into
 * the memfd's page cache; no thread waits for a page (V3). vCPU threads only
 * read the residency map and push requests into a lock-free queue. This room
 * knows nothing of vCPUs or guest-physical addresses: pages are numbered by
 * their offset in the memfd.
 *
 * A page number counts 4 KiB (APF_PAGE_SIZE) on every host, so that it means the same
 * everywhere. Where the host's page is bigger, or page_size says so, the pages that
 * lie in one come, are lost and trap together.
 */
#ifndef APF_MEMORY_H
#define APF_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct apf_mem;
struct apf_store;

enum apf_trap {
	APF_TRAP_NONE,		/* everything is resident: a VM that boots */
	APF_TRAP_BLOCK,		/* a touch of a missing page in A blocks (modes sync and kernel) */
	APF_TRAP_POISON,	/* a touch raises SIGBUS in the vCPU thread (mode user) */
};

struct apf_mem_done {
	uint64_t page;
	int res;		/* 0, or negative errno: lost for good */
};

struct apf_mem_config {
	uint64_t size;			/* bytes, multiple of the page size */
	enum apf_trap trap;
	struct apf_store *store;	/* taken over, closed by destroy (but still the caller's if
					   create fails); NULL with APF_TRAP_NONE */
	uint32_t page_size;		/* bytes fetched, trapped and mapped at once: a power of two
					   from the host's page to 2 MiB; 0 = the host's page */
	uint32_t max_fetches;		/* reads in flight at once; 0 = 4096 */
	uint32_t batch_pages;		/* contiguous demand of such pages read together, at most;
					   0 = 16 */
	uint32_t retries;		/* after the first try of a page; 0 = 8 */
	uint64_t retry_ns;		/* first back-off, doubled each time; 0 = 10 ms */
	/*
	 * Pages have come or are lost; called on the pager's thread in batches, after
	 * they are visible in A (C15). Must not block. May be NULL. Not for users of
	 * apf_kvm_create, which puts its own there: see apf_mem_set_done.
	 */
	void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n);
	void *ctx;
};

/*
 * Create RAM and start the pager. Time and memory do not grow with size (the trap
 * is armed lazily, 2 MiB at a time, on first touch and in idle moments).
 * 0; -EOPNOTSUPP/-EPERM: the kernel lacks userfaultfd, or with APF_TRAP_POISON POISON
 * (see apf_error);
 * -ENOMEM, -EINVAL.
 */
int apf_mem_create(const struct apf_mem_config *cfg, struct apf_mem **out);

/*
 * Stop the pager and free everything; pages on their way and calls that are not
 * due are dropped. Nobody may run on A or touch B any more.
 */
void apf_mem_destroy(struct apf_mem *m);

/*
 * Change done and ctx of the configuration. When this returns, the old function is not running
 * and is not called again; all pages that are asked for from then on are told to the new one
 * (NULL: to nobody). Any thread but the pager's.
 */
void apf_mem_set_done(struct apf_mem *m,
		      void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n),
		      void *ctx);

/*
 * Take view A away for good, before the threads that run on it are joined: who waits in it for a
 * page, KVM's own threads included, gets an error at once instead (KVM_RUN: -EFAULT), and so does
 * every later access. A vCPU thread in KVM may wait where no signal reaches it, and then not even
 * the end of the process ends it. Pages that come later count as fetched. Any thread; 0 or
 * negative errno.
 */
int apf_mem_cut_off(struct apf_mem *m);

/* Bytes of RAM; of the page in use. Where views A and B begin: valid until destroy. Any thread. */
uint64_t apf_mem_size(const struct apf_mem *m);
uint32_t apf_mem_page_size(const struct apf_mem *m);
void *apf_mem_view_a(const struct apf_mem *m);
void *apf_mem_view_b(const struct apf_mem *m);

/*
 * The memfd, for back ends that map RAM themselves, in this process or in another one
 * (vhost-user). Borrowed; do not close it. Its size is sealed (F_SEAL_GROW, F_SEAL_SHRINK).
 *
 * Nothing traps in a mapping other than A and B: a page that is not here shows zeroes there, or
 * half of what is being read, and what is written there is lost when the page comes. So make
 * all that a back end may touch resident (apf_mem_need) before it gets the descriptor; what is
 * here stays here until apf_mem_discard, which must leave out what a back end is working on.
 * Holes are punched by apf_mem_discard only. With APF_TRAP_NONE there is nothing to heed.
 */
int apf_mem_fd(const struct apf_mem *m);

/*
 * Number of the first page that traps together with addr, an address in A;
 * UINT64_MAX: not in A. Any thread.
 */
uint64_t apf_mem_page_of(const struct apf_mem *m, const void *addr);

/* Is the page here? Lock-free, any thread. */
bool apf_mem_resident(const struct apf_mem *m, uint64_t page);

/*
 * Ask for a page. Lock-free, any thread, never blocks, allocates nothing (C2: it
 * is fetched once, however many ask). 1: it is here already; 0: it is on its
 * way, done will be called; -EAGAIN: queue full, try again; -EIO: lost for good;
 * -ERANGE: no such page.
 */
int apf_mem_want(struct apf_mem *m, uint64_t page);

/*
 * Make sure [page, page + n) is resident, waiting for it. Any thread but the
 * pager's, no lock held. 0, -EIO: lost, -ERANGE.
 */
int apf_mem_need(struct apf_mem *m, uint64_t page, uint64_t n);

/*
 * The guest has given [page, page + n) back (a balloon, free page reporting): its memory is
 * freed, and from the return of this call on every first touch finds zeroes, in A and in B,
 * without asking the store. Until then the pages are missing as they were before they came: a
 * touch traps, apf_mem_want brings them. A page that is being read comes as zeroes, and
 * done tells of it as of any other, so that whoever waits for it goes on; a lost page is no
 * longer lost. What is written meanwhile by others lands before or after. Whole pages of
 * apf_mem_page_size. Waits for the pager, not for the store. Any thread but the pager's; may
 * run beside everything else, though an apf_mem_save beside it has the old bytes or zeroes.
 * 0; -ERANGE: not inside RAM; -EINVAL: not whole pages.
 */
int apf_mem_discard(struct apf_mem *m, uint64_t page, uint64_t n);

struct apf_mem_range {
	uint64_t page, n;	/* pages [page, page + n) */
};

/*
 * Fetch a working set that is known beforehand (recorded from an earlier restore),
 * as many pages at once as max_fetches allows, and wait for all of it. Before the
 * VM runs; statistics of what is in flight start anew after it. Any thread but the
 * pager's. 0; -ERANGE: not inside RAM, nothing is fetched; -EIO: lost.
 */
int apf_mem_preload(struct apf_mem *m, const struct apf_mem_range *ranges, size_t n);

/*
 * Read or write resident RAM through view C, without side effects (C9). 0;
 * -EFAULT: a page of it is not resident (nothing is done); -ERANGE. Any thread.
 * Accesses of 4 aligned bytes are atomic, with release/acquire order.
 */
int apf_mem_read(const struct apf_mem *m, uint64_t offset, void *buf, size_t len);
int apf_mem_write(struct apf_mem *m, uint64_t offset, const void *buf, size_t len);

/*
 * Which pages of [offset, offset + len) were written by apf_mem_write since they were last
 * asked for (here or at creation), or given back by apf_mem_discard: KVM's dirty log does not
 * know of these. All that the binding writes for a guest goes through apf_mem_write: tokens,
 * reasons, completed accesses of KVM's emulator. Sets their bits in bitmap and forgets them.
 * The layout is that of KVM_GET_DIRTY_LOG for a slot that lies there: bit i is the i-th page
 * of the host (not of apf_mem_page_size), other bits are left as they are; so hand in what KVM
 * has filled in. What is written while this runs is found now or by the next call. Any
 * thread. 0; -ERANGE: not inside RAM; -EINVAL: not whole pages of the host.
 */
int apf_mem_dirty(struct apf_mem *m, uint64_t offset, uint64_t len, uint64_t *bitmap);

/* Call fn(arg) on the pager's thread, ns from now (0: next turn). Any thread. 0 or -EAGAIN. */
int apf_mem_after(struct apf_mem *m, uint64_t ns, void (*fn)(void *arg), void *arg);

/*
 * Write all of RAM to fd, an empty file (page n at n * 4096, zero pages left as holes). Pages
 * that are not here are copied from the store without making them resident.
 * Nobody may write RAM meanwhile. progress(arg, done_bytes) may be NULL. Any
 * thread but the pager's. 0 or negative errno + apf_error; -EEXIST: fd is not empty.
 */
int apf_mem_save(struct apf_mem *m, int fd, void (*progress)(void *arg, uint64_t done), void *arg);

struct apf_mem_stats {
	uint64_t fetched;	/* pages that came from the store */
	uint64_t zero;		/* of these: known to be zero, nothing read */
	uint64_t reads;		/* requests to the store */
	uint64_t retries, failed;
	uint64_t blocked;	/* userfaultfd events: accesses that blocked (B, or unarmed A) */
	uint64_t armed;		/* 2 MiB chunks armed */
	uint32_t in_flight;	/* pages on their way */
	uint32_t max_in_flight;
};
/* Counts since creation, in pages of 4 KiB. Any thread. */
void apf_mem_stats(const struct apf_mem *m, struct apf_mem_stats *s);

/*
 * Text of why the last page was lost: which page, which store, which error; "" if none. Any
 * thread; valid until this thread asks again.
 */
const char *apf_mem_lost_text(const struct apf_mem *m);

/* What this kernel offers, for `apf doctor`: 0 or negative errno + apf_error. Any thread. */
struct apf_mem_probe {
	bool userfaultfd;	/* may be created, kernel-mode faults included */
	bool minor_shmem;
	bool poison;
	bool io_uring;
};
int apf_mem_probe(struct apf_mem_probe *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
