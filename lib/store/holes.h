/* SPDX-License-Identifier: MIT */
/* Where a file has data: asked once, when it is opened, since looking may wait for the disk. */
#ifndef STORE_HOLES_H
#define STORE_HOLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct apf_holes {
	uint8_t *data;		/* one bit a page: some of it is data; NULL: all may be */
	size_t bytes;
};

/* 0 or -ENOMEM + apf_error. Where holes are not known, everything is data. */
int apf_holes_open(struct apf_holes *h, int fd, uint64_t size);
void apf_holes_close(struct apf_holes *h);

/* Is [offset, offset + len), whole pages of the file, nothing but a hole? */
bool apf_holes_cover(const struct apf_holes *h, uint64_t offset, uint64_t len);

#endif
