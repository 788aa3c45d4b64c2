/* SPDX-License-Identifier: MIT */
/* Between apf-conformance and what it preloads into another VMM: packets on a socket. */
#ifndef CONFORMANCE_PRELOAD_H
#define CONFORMANCE_PRELOAD_H

#include <stdint.h>

/* The environment variable with the socket's number. */
#define PRELOAD_SOCKET	"APF_CONFORMANCE_SOCKET"

/* From the VMM, when it gives memory to its VM; the first one carries a userfaultfd of its own. */
struct preload_slot {
	int32_t pid;
	uint32_t slot;
	uint64_t gpa, size, address;	/* size 0: the slot is gone */
};

/* To the VMM: forget what is in this piece of memory. The answer is the same packet. */
struct preload_drop {
	uint64_t address, size;
};

#endif
