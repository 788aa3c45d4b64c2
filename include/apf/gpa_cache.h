/* SPDX-License-Identifier: MIT */
/*
 * Cached access to guest-physical memory (row V2): for words that a host reads and writes
 * again and again, such as the area of asynchronous page faults, a steal-time record or a
 * ring's indices. A cache remembers where in RAM the slot lies that was used last, so that
 * the next access needs no look-up; it notices by itself when the slots have changed.
 *
 * Accesses have no side effects (C9): no fetch, no fault, no waiting.
 */
#ifndef APF_GPA_CACHE_H
#define APF_GPA_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct apf_kvm;

/*
 * All zero: an empty one, ready for use. Holds no pointer and nothing to free. A thread at a
 * time: the caller serialises accesses by the same cache. For one struct apf_kvm only.
 */
struct apf_gpa_cache {
	uint64_t gpa, size;	/* the slot: bytes [gpa, gpa + size) of guest-physical space */
	uint64_t offset;	/* its place in the memory, bytes */
	bool readonly;		/* the slot is */
	uint32_t layout;	/* number of the slots' layout that this is from; 0: empty */
};

/*
 * Read or write len bytes at gpa. Any thread. 0; -EFAULT: a page of it is not resident, nothing
 * is done; -ERANGE: it is not in RAM, or not in one slot, or to be written in a read-only
 * one. 4 aligned bytes are one access, with acquire or release order.
 */
int apf_gpa_cache_read(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa, void *buf,
		       size_t len);
int apf_gpa_cache_write(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa,
			const void *buf, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
