/* SPDX-License-Identifier: MIT */
/* Reading what the page cache holds, without waiting for anything. */
#ifndef STORE_CACHED_H
#define STORE_CACHED_H

#include <stdbool.h>
#include <stdint.h>

/* Can this kernel (Linux 6.5) say, and to us, what it holds of this file? */
bool apf_cached_known(int fd);

/*
 * Copy [offset, offset + len) into buf if the page cache has all of it. fd without O_DIRECT.
 * False: it has not; buf may have been written to.
 */
bool apf_cached_read(int fd, void *buf, uint32_t len, uint64_t offset);

#endif
