/* SPDX-License-Identifier: MIT */
/*
 * The raw file (or block device): page n at n * 4096. Holes are not read. What the page
 * cache holds is copied from there, the rest is read past it. The file must not change
 * while it is in use; that it shrinks is noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <apf/error.h>

#include "store/builtin.h"
#include "store/cached.h"
#include "store/holes.h"

/* How long to wait when the ring had no room for a read. */
#define NO_ROOM_NS	100000u

struct file {
	int fd;
	int cached_fd;		/* the same without O_DIRECT, to read from the page cache; or -1 */
	bool direct;		/* fd is O_DIRECT */
	bool memory;		/* tmpfs: what it holds is in memory already */
	const char *why;	/* not direct */
	char *path;
	struct apf_holes holes;
	uint64_t from_cache;	/* reads that the page cache answered */
	/* How long the file was at this turn's time. */
	uint64_t size, size_ns;
	char error[320];
};

static const char *text(struct file *f, const char *what, int err)
{
	snprintf(f->error, sizeof(f->error), "%s: %s: %s", f->path, what, strerror(err));
	return f->error;
}

/* The file's length now, asked once per turn. */
static uint64_t size_now(struct file *f, uint64_t now)
{
	if (f->size_ns != now) {
		off_t end = lseek(f->fd, 0, SEEK_END);

		f->size = end < 0 ? 0 : (uint64_t)end;
		f->size_ns = now;
	}
	return f->size;
}

static int too_short(struct file *f, struct apf_io *io, uint64_t size)
{
	/* The first page that is not whole. */
	uint64_t page = (size < io->offset ? io->offset : size) >> APF_PAGE_SHIFT;

	snprintf(f->error, sizeof(f->error), "%s ends at byte %" PRIu64 ", page %" PRIu64
		 " needs %" PRIu64, f->path, size, page, (page + 1) << APF_PAGE_SHIFT);
	io->error = f->error;
	return -EIO;
}

/* From memory there is nothing to wait for; a trip through a kernel worker costs 17 us more. */
static int read_memory(struct file *f, struct apf_io *io)
{
	uint32_t got = 0;

	while (got < io->len) {
		ssize_t n = pread(f->fd, (char *)io->buf + got, io->len - got,
				  (off_t)(io->offset + got));

		if (n < 0) {
			io->error = text(f, "read", errno);
			return -errno;
		}
		if (!n)
			return too_short(f, io, io->offset + got);
		got += (uint32_t)n;
	}
	return 0;
}

static void start_read(struct apf_store *s, struct apf_io *io);

static void start_again(struct apf_timer *t)
{
	struct apf_io *io = apf_container_of(t, struct apf_io, timer);

	start_read(io->frame[io->depth].ctx, io);
}

static void read_done(struct apf_loop_op *op, int res)
{
	struct apf_io *io = apf_container_of(op, struct apf_io, op);
	struct apf_store *s = io->frame[io->depth].ctx;
	struct file *f = s->state;
	uint32_t before = (uint32_t)io->frame[io->depth].note;
	uint32_t got = before + (uint32_t)(res > 0 ? res : 0);

	if (res < 0) {
		io->error = text(f, "read", -res);
		apf_io_complete(io, res);
		return;
	}
	if (got == io->len) {
		apf_io_complete(io, 0);
		return;
	}
	if (!res || io->offset + got >= size_now(f, apf_loop_now(s->loop))) {
		apf_io_complete(io, too_short(f, io, io->offset + got));
		return;
	}
	/* Cut short before the end: go on where it stopped, on a page border for O_DIRECT. */
	got = f->direct ? got & ~(APF_PAGE_SIZE - 1) : got;
	if (got == before) {
		io->error = text(f, "read makes no progress", EIO);
		apf_io_complete(io, -EIO);
		return;
	}
	io->frame[io->depth].note = got;
	start_read(s, io);
}

/* The frame above those in use keeps the store and how much has been read. */
static void start_read(struct apf_store *s, struct apf_io *io)
{
	struct file *f = s->state;
	uint32_t got = (uint32_t)io->frame[io->depth].note;

	io->op.fn = read_done;
	if (!apf_loop_read(s->loop, &io->op, f->fd, (char *)io->buf + got, io->len - got,
			   io->offset + got))
		return;
	io->timer.fn = start_again;
	apf_loop_timer_arm(s->loop, &io->timer, apf_loop_now(s->loop) + NO_ROOM_NS);
}

static void file_submit(struct apf_store *s, struct apf_io *io)
{
	struct file *f = s->state;

	if (apf_holes_cover(&f->holes, io->offset, io->len)) {
		/* A file that has shrunk has no data there either: that is not a hole. */
		uint64_t size = size_now(f, apf_loop_now(s->loop));
		bool here = io->offset + io->len <= size;

		apf_io_complete_later(s->loop, io, here ? APF_IO_ZERO : too_short(f, io, size));
		return;
	}
	if (f->memory) {
		apf_io_complete_later(s->loop, io, read_memory(f, io));
		return;
	}
	if (f->cached_fd >= 0 && apf_cached_read(f->cached_fd, io->buf, io->len, io->offset)) {
		f->from_cache++;
		apf_io_complete_later(s->loop, io, 0);
		return;
	}
	io->frame[io->depth].ctx = s;
	io->frame[io->depth].note = 0;
	start_read(s, io);
}

/* An open with O_DIRECT may succeed where reads do not: try one. */
static bool direct_reads_work(int fd)
{
	void *page = aligned_alloc(APF_PAGE_SIZE, APF_PAGE_SIZE);
	bool ok = page && pread(fd, page, APF_PAGE_SIZE, 0) >= 0;

	free(page);
	return ok;
}

enum direct { AUTO, ON, OFF };

/* "direct=on:PATH": what stands before the path; *arg moves on to it. */
static int parse_direct(const char **arg, enum direct *direct)
{
	static const char *const words[] = { "direct=auto:", "direct=on:", "direct=off:" };

	*direct = AUTO;
	if (strncmp(*arg, "direct=", 7))
		return 0;
	for (unsigned int i = 0; i < 3; i++) {
		if (strncmp(*arg, words[i], strlen(words[i])))
			continue;
		*direct = (enum direct)i;
		*arg += strlen(words[i]);
		return 0;
	}
	return apf_error_set(-EINVAL, "store file: %s: direct is auto, on or off, and a path follows",
			     *arg);
}

static bool lies_in_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC;
}

/* Sets fd and, of why there is no direct access, the text. */
static void try_direct(struct file *f)
{
	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (f->fd < 0) {
		f->why = errno == EINVAL ? "the file system does not take O_DIRECT" : NULL;
		return;
	}
	f->memory = lies_in_memory(f->fd);
	f->direct = !f->memory && direct_reads_work(f->fd);
	f->why = f->memory ? "the file lies in memory (tmpfs)" :
		 f->direct ? NULL : "the file system does not take O_DIRECT";
	if (f->direct)
		return;
	close(f->fd);
	f->fd = -1;
}

static int open_file(struct file *f, enum direct direct)
{
	int plain = open(f->path, O_RDONLY | O_CLOEXEC);

	if (plain < 0)
		return apf_error_set(-errno, "file:%s: %s", f->path, strerror(errno));
	f->cached_fd = -1;
	f->why = "it is switched off";
	f->memory = lies_in_memory(plain);
	if (direct != OFF)
		try_direct(f);
	if (direct == ON && !f->direct) {
		close(plain);
		return apf_error_set(-EINVAL, "file:%s: direct=on: %s", f->path,
				     f->why ? f->why : "it cannot be opened for that");
	}
	if (!f->direct)
		f->fd = plain;
	else if (direct == AUTO && apf_cached_known(plain))
		f->cached_fd = plain;
	else
		close(plain);
	return 0;
}

static void close_fds(struct file *f)
{
	close(f->fd);
	if (f->cached_fd >= 0)
		close(f->cached_fd);
}

static int check_file(struct apf_store *s, struct file *f)
{
	off_t size = lseek(f->fd, 0, SEEK_END);
	struct stat st;

	if (fstat(f->fd, &st) || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) || size < 0)
		return apf_error_set(-EINVAL, "file:%s: neither a regular file nor a block device",
				     f->path);
	s->size = (uint64_t)size;
	return apf_holes_open(&f->holes, f->fd, s->size);
}

static int file_open(struct apf_store *s, const char *arg)
{
	struct file *f = s->state;
	enum direct direct;
	int r;

	if (!arg || !*arg)
		return apf_error_set(-EINVAL, "store file needs a path: file:PATH");
	r = parse_direct(&arg, &direct);
	if (r < 0)
		return r;
	f->path = strdup(arg);
	if (!f->path)
		return apf_error_set(-ENOMEM, "no memory for store file");
	r = open_file(f, direct);
	if (r < 0)
		goto free_path;
	r = check_file(s, f);
	if (!r)
		return 0;
	close_fds(f);
free_path:
	free(f->path);
	return r;
}

static int file_stats(struct apf_store *s, char *buf, size_t size)
{
	const struct file *f = s->state;

	return snprintf(buf, size, "{\"direct\": %s, \"why_not\": %s%s%s, \"from_page_cache\": %"
			PRIu64 "}", f->direct ? "true" : "false", f->why ? "\"" : "",
			f->why ? f->why : "null", f->why ? "\"" : "", f->from_cache);
}

static int copy_data(int from, int to, uint64_t offset, uint64_t len)
{
	off64_t in = (off64_t)offset, out = in, end = in + (off64_t)len;

	while (in < end) {
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - in), 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)			/* it has shrunk */
			return -EIO;
	}
	return 0;
}

static int file_copy(struct apf_store *s, int fd, uint64_t offset, uint64_t len)
{
	const struct file *f = s->state;
	uint64_t at = offset, end = offset + len, from;
	int r = 0;

	while (at < end && !r) {
		while (at < end && apf_holes_cover(&f->holes, at, APF_PAGE_SIZE))
			at += APF_PAGE_SIZE;
		for (from = at; at < end && !apf_holes_cover(&f->holes, at, APF_PAGE_SIZE);)
			at += APF_PAGE_SIZE;
		r = copy_data(f->cached_fd >= 0 ? f->cached_fd : f->fd, fd, from, at - from);
	}
	return r;
}

static void file_close(struct apf_store *s)
{
	struct file *f = s->state;

	close_fds(f);
	apf_holes_close(&f->holes);
	free(f->path);
}

const struct apf_store_ops apf_store_file = {
	.version = APF_STORE_VERSION,
	.name = "file",
	.state_size = sizeof(struct file),
	.open = file_open,
	.submit = file_submit,
	.stats = file_stats,
	.close = file_close,
	.copy = file_copy,
};
