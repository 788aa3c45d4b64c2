/* SPDX-License-Identifier: MIT */
/* Checksums of RAM's pages; see sums.h. */
#include "sums.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>
#include <apf/store.h>

#include "crc32c.h"
#include "snapshot.h"

#define RUN_BYTES	(1u << 20)	/* read at once */

static uint32_t sum_of_zeroes(void)
{
	static const uint8_t zeroes[APF_PAGE_SIZE];

	return crc32c(0, zeroes, sizeof(zeroes));
}

struct reader {
	int fd;
	uint8_t *buf;
	uint32_t zero;		/* sum of a page of zeroes */
	void (*page)(void *arg, uint64_t number, uint32_t sum);
	void *arg;
};

static int read_run(struct reader *r, uint64_t offset, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(r->fd, r->buf + got, len - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return apf_error_set(n ? -errno : -EIO, "ram: cannot read byte %" PRIu64 ": %s",
					     offset + got, n ? strerror(errno) : "it ends there");
		got += (size_t)n;
	}
	for (size_t i = 0; i < len; i += APF_PAGE_SIZE)
		r->page(r->arg, (offset + i) >> APF_PAGE_SHIFT, crc32c(0, r->buf + i, APF_PAGE_SIZE));
	return 0;
}

/* [from, to) is data. */
static int read_data(struct reader *r, uint64_t from, uint64_t to)
{
	int err = 0;

	for (uint64_t n; from < to && !err; from += n) {
		n = to - from < RUN_BYTES ? to - from : RUN_BYTES;
		err = read_run(r, from, n);
	}
	return err;
}

/* The end of the hole that begins at offset, and that of the data behind it; both on page borders. */
static void next_data(int fd, uint64_t offset, uint64_t size, uint64_t *data, uint64_t *hole)
{
	off_t d = lseek(fd, (off_t)offset, SEEK_DATA), h;

	*data = d < 0 ? errno == ENXIO ? size : offset : (uint64_t)d & -(uint64_t)APF_PAGE_SIZE;
	h = lseek(fd, (off_t)*data, SEEK_HOLE);
	*hole = h < 0 || (uint64_t)h > size ? size : ((uint64_t)h + APF_PAGE_SIZE - 1) &
							     -(uint64_t)APF_PAGE_SIZE;
}

static int read_all(struct reader *r, uint64_t size)
{
	uint64_t data, hole = 0;
	int err = 0;

	for (uint64_t at = 0; at < size && !err; at = hole) {
		next_data(r->fd, at, size, &data, &hole);
		for (; at < data; at += APF_PAGE_SIZE)
			r->page(r->arg, at >> APF_PAGE_SHIFT, r->zero);
		err = read_data(r, data, hole);
	}
	return err;
}

int vmm_sums_read(int fd, uint64_t size, void (*page)(void *arg, uint64_t number, uint32_t sum), void *arg)
{
	struct reader r = { .fd = fd, .zero = sum_of_zeroes(), .page = page, .arg = arg };
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return apf_error_set(-errno, "ram: %s", strerror(errno));
	if ((uint64_t)st.st_size != size)
		return apf_error_set(-EINVAL, "ram: has %llu bytes, not %" PRIu64,
				     (unsigned long long)st.st_size, size);
	r.buf = malloc(RUN_BYTES);
	if (!r.buf)
		return apf_error_set(-ENOMEM, "ram: no memory to read it with");
	err = read_all(&r, size);
	free(r.buf);
	return err;
}

uint32_t vmm_sums_of(const struct vmm_snapshot *s, uint64_t page)
{
	uint32_t sum;

	memcpy(&sum, s->sec[VMM_SEC_RAM_SUMS][0].data + page * sizeof(sum), sizeof(sum));
	return sum;
}

/* --- the filter --- */

struct filter {
	const struct vmm_snapshot *snapshot;
	uint32_t zero;
	char error[96];
};

/* The first page of what was read that is not as it was saved; UINT64_MAX: all are. */
static uint64_t first_wrong(const struct filter *f, const struct apf_io *io, bool zero)
{
	const uint64_t pages = f->snapshot->vm.mem_size >> APF_PAGE_SHIFT;
	uint64_t page = io->offset >> APF_PAGE_SHIFT;

	for (uint32_t i = 0; i < io->len; i += APF_PAGE_SIZE, page++) {
		uint32_t sum = zero ? f->zero : crc32c(0, (const uint8_t *)io->buf + i, APF_PAGE_SIZE);

		if (page >= pages || sum != vmm_sums_of(f->snapshot, page))
			return page;
	}
	return UINT64_MAX;
}

static void check_done(struct apf_io *io, int res)
{
	struct apf_store *s = io->frame[io->depth].ctx;
	struct filter *f = s->state;
	uint64_t page = res < 0 ? UINT64_MAX : first_wrong(f, io, res == APF_IO_ZERO);

	if (page != UINT64_MAX) {
		snprintf(f->error, sizeof(f->error), "page %" PRIu64 " is not as it was saved "
			 "(checksum): the snapshot is damaged", page);
		io->error = f->error;
		res = -EIO;
	}
	apf_io_complete(io, res);
}

static void filter_submit(struct apf_store *s, struct apf_io *io)
{
	apf_io_push(io, check_done, s, 0);
	s->below->ops->submit(s->below, io);
}

static int filter_open(struct apf_store *s, const char *arg)
{
	return 0;
}

static void filter_close(struct apf_store *s)
{
}

static const struct apf_store_ops sums_filter = {
	.version = APF_STORE_VERSION,
	.name = "sums",
	.filter = true,
	.state_size = sizeof(struct filter),
	.open = filter_open,
	.submit = filter_submit,
	.close = filter_close,
};

int vmm_sums_check(const struct vmm_snapshot *s, struct apf_store **store)
{
	struct apf_store *below = *store;
	int err = apf_store_stack(&sums_filter, NULL, below, store);

	if (err) {
		apf_store_close(below);
		return err;
	}
	*(struct filter *)(*store)->state = (struct filter){ .snapshot = s, .zero = sum_of_zeroes() };
	return 0;
}
