/* SPDX-License-Identifier: MIT */
/*
 * The memory of a guest that does not exist, for every test that plays the host for one:
 * a piece of RAM whose bytes are the caller's, in a guest that may have more of it.
 */
#ifndef TESTS_SUPPORT_GUEST_MEMORY_H
#define TESTS_SUPPORT_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGE	4096u

struct guest_memory {
	void *bytes;		/* the piece; borrowed */
	uint64_t gpa;		/* of its first byte */
	size_t size;
	uint64_t ram;		/* bytes of RAM that the guest has, from address 0 on */
	bool unreachable;	/* no read, no write works */
	bool read_only;
	const bool *here;	/* of each of the piece's pages; NULL: all are */
};

/*
 * The area that host and guest share, with its words by name; busy: arm64. A struct has it
 * as a member without a name of its own.
 */
#define GUEST_AREA union { uint32_t area[3]; struct { uint32_t reason, token, busy; }; }
#define GUEST_AREA_SIZE(is_arm)	((is_arm) ? 12u : 8u)

/* Where these bytes are, reachable or not; NULL: not all of them are in the piece. */
void *guest_memory_at(const struct guest_memory *m, uint64_t gpa, size_t len);
/* 0, or -EFAULT and nothing was done. */
int guest_memory_read(const struct guest_memory *m, uint64_t gpa, void *buf, size_t len);
int guest_memory_write(const struct guest_memory *m, uint64_t gpa, const void *buf, size_t len);
/* Does the guest have RAM there? It need not exist. */
bool guest_memory_is_ram(const struct guest_memory *m, uint64_t gpa, uint64_t len);

#endif
