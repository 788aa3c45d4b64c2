/* SPDX-License-Identifier: MIT */
/* See holes.h. A hole costs no memory here either: its part of the map is never touched. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apf/error.h>
#include <apf/store.h>

#include "store/holes.h"

static void add_data(struct apf_holes *h, uint64_t from, uint64_t to)
{
	uint64_t page = from >> APF_PAGE_SHIFT;
	uint64_t end = (to + APF_PAGE_SIZE - 1) >> APF_PAGE_SHIFT;

	while (page < end) {
		if (page % 8 || end - page < 8) {
			h->data[page / 8] |= (uint8_t)(1 << page % 8);
			page++;
		} else {
			h->data[page / 8] = 0xff;
			page += 8;
		}
	}
}

static void look(struct apf_holes *h, int fd, uint64_t size)
{
	off_t data, hole = 0;

	while ((data = lseek(fd, hole, SEEK_DATA)) >= 0 && (uint64_t)data < size) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > size)
			hole = (off_t)size;
		add_data(h, (uint64_t)data, (uint64_t)hole);
	}
	if (data < 0 && errno != ENXIO)		/* holes are not known here */
		apf_holes_close(h);
}

int apf_holes_open(struct apf_holes *h, int fd, uint64_t size)
{
	uint64_t pages = (size + APF_PAGE_SIZE - 1) >> APF_PAGE_SHIFT;
	void *p;

	*h = (struct apf_holes){ .bytes = (pages + 7) / 8 };
	if (!size)
		return 0;
	p = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return apf_error_set(-ENOMEM, "no memory for a map of the file's holes");
	h->data = p;
	look(h, fd, size);
	return 0;
}

void apf_holes_close(struct apf_holes *h)
{
	if (h->data)
		munmap(h->data, h->bytes);
	h->data = NULL;
}

bool apf_holes_cover(const struct apf_holes *h, uint64_t offset, uint64_t len)
{
	uint64_t page = offset >> APF_PAGE_SHIFT, end = (offset + len) >> APF_PAGE_SHIFT;

	for (; h->data && page < end && page / 8 < h->bytes; page++)
		if (h->data[page / 8] >> page % 8 & 1)
			return false;
	return h->data && page == end;
}
