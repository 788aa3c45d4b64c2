/* SPDX-License-Identifier: MIT */
/* Pages of another VMM's guest that are missing until a thread of ours puts them back. */
#ifndef CONFORMANCE_MISSING_H
#define CONFORMANCE_MISSING_H

#include "conformance.h"

struct missing;

/*
 * Where to reach the VMM, of which preload.c has the other end. NULL with apf_error: it never said where
 * its memory is, or what it said cannot be used.
 */
struct missing *missing_open(int sock);
/*
 * Take away `n` pages of the host's from `gpa` on, but for those that `keep` says yes to. The guest does
 * not touch them meanwhile. They come back `latency_ns` after a touch, or if held not before
 * missing_release. 0 or negative errno with apf_error. Once.
 */
int missing_take(struct missing *m, uint64_t gpa, unsigned int n, bool (*keep)(void *arg, unsigned int i),
		 void *arg, const struct conf_setup *setup);
void missing_release(struct missing *m);
struct conf_pages missing_pages(struct missing *m);
/* The VMM is gone. NULL is fine. */
void missing_close(struct missing *m);

#endif
