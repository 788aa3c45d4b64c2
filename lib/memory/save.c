/* SPDX-License-Identifier: MIT */
/*
 * Writing all of RAM to a file. What is here comes from view C; what is not is copied
 * by the store itself where it can, or read from it into buffers of our own, as many reads
 * at once as fetches may be, and does not become resident.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>

#include "memory/memory.h"

#define MAX_BUFFERS	(256u << 20)	/* bytes, of all reads at once */
#define RUN_BYTES	(256u << 10)	/* in one of them, unless a page is more */

struct save;

/* One read from the store: the saver's while idle, the pager's while busy. */
struct slot {
	struct apf_loop_call call;
	struct apf_io io;
	struct save *save;
	char *buf;
	uint64_t offset;
	uint32_t len;
	uint32_t tries;
	bool used;			/* holds pages that are not written yet */
	bool busy;			/* under save->lock */
	int res;
	char error[320];
};

struct save {
	struct apf_mem *mem;
	int fd;
	uint32_t run;			/* bytes of a slot's buffer */
	uint64_t done;			/* bytes */
	void (*progress)(void *arg, uint64_t done);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool no_copy;			/* the store cannot, or not to this file */
	struct slot *slot;		/* reads at once, used in turn */
	unsigned int slots, next;
};

static bool is_zero(const char *page)
{
	return !page[0] && !memcmp(page, page + 1, APF_PAGE_SIZE - 1);
}

static int write_all(int fd, const char *buf, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)offset);

		if (n < 0 && errno != EINTR)
			return apf_error_set(-errno, "cannot write RAM at byte %" PRIu64 ": %s",
					     offset, strerror(errno));
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

/* Write what is not zero, by 4 KiB; the rest stays a hole. */
static int write_range(struct save *s, const char *buf, uint64_t offset, uint64_t len)
{
	uint64_t i = 0, from;
	int r = 0;

	while (i < len && !r) {
		while (i < len && is_zero(buf + i))
			i += APF_PAGE_SIZE;
		for (from = i; i < len && !is_zero(buf + i); i += APF_PAGE_SIZE)
			;
		r = write_all(s->fd, buf + from, i - from, offset + from);
	}
	return r;
}

static void advance(struct save *s, uint64_t len)
{
	s->done += len;
	if (s->progress)
		s->progress(s->arg, s->done);
}

/* On the pager's thread, from here ... */
static void read_ended(struct slot *sl, int res)
{
	struct save *s = sl->save;

	pthread_mutex_lock(&s->lock);
	sl->res = res;
	sl->busy = false;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void start_slot(struct slot *sl);

static void try_again(struct apf_timer *t)
{
	start_slot(apf_container_of(t, struct slot, io.timer));
}

static void slot_done(struct apf_io *io, int res)
{
	struct slot *sl = apf_container_of(io, struct slot, io);
	struct apf_mem *m = sl->save->mem;

	if (res >= 0) {
		read_ended(sl, res);
		return;
	}
	if (sl->tries++ == m->cfg.retries) {
		snprintf(sl->error, sizeof(sl->error), "%s",
			 io->error ? io->error : strerror(-res));
		read_ended(sl, res);
		return;
	}
	io->timer = (struct apf_timer){ .fn = try_again };
	apf_loop_timer_arm(m->loop, &io->timer,
			   apf_loop_now(m->loop) + apf_fetch_backoff(m, sl->tries));
}

static void start_slot(struct slot *sl)
{
	struct apf_store *store = sl->save->mem->cfg.store;

	memset(&sl->io, 0, sizeof(sl->io));
	sl->io.offset = sl->offset;
	sl->io.len = sl->len;
	sl->io.buf = sl->buf;
	sl->io.done = slot_done;
	store->ops->submit(store, &sl->io);
}

static void slot_posted(struct apf_loop_call *c)
{
	start_slot(apf_container_of(c, struct slot, call));
}
/* ... to here. */

static void wait_for_slot(struct save *s, struct slot *sl)
{
	pthread_mutex_lock(&s->lock);
	while (sl->busy)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* Wait for a slot's read and write what it brought. */
static int empty_slot(struct save *s, struct slot *sl)
{
	int r = 0;

	if (!sl->used)
		return 0;
	wait_for_slot(s, sl);
	sl->used = false;
	if (sl->res < 0)
		return apf_error_set(sl->res, "cannot save pages %" PRIu64 " to %" PRIu64
				     ", which are in the store only: %s",
				     sl->offset >> APF_PAGE_SHIFT,
				     (sl->offset + sl->len - 1) >> APF_PAGE_SHIFT, sl->error);
	if (sl->res != APF_IO_ZERO)
		r = write_range(s, sl->buf, sl->offset, sl->len);
	if (!r)
		advance(s, sl->len);
	return r;
}

static bool copied_by_store(struct save *s, uint64_t offset, uint32_t len)
{
	struct apf_store *store = s->mem->cfg.store;

	/* What is wrong with the store or the file shows when the range is read and written. */
	s->no_copy |= !store->ops->copy || store->ops->copy(store, s->fd, offset, len) < 0;
	return !s->no_copy;
}

static int save_missing(struct save *s, uint64_t offset, uint32_t len)
{
	struct slot *sl;
	int r;

	if (!s->no_copy && copied_by_store(s, offset, len)) {
		advance(s, len);
		return 0;
	}
	sl = &s->slot[s->next++ % s->slots];
	r = empty_slot(s, sl);
	if (r < 0)
		return r;
	sl->offset = offset;
	sl->len = len;
	sl->tries = 0;
	sl->used = true;
	sl->busy = true;
	sl->call.fn = slot_posted;
	apf_loop_post(s->mem->loop, &sl->call);
	return 0;
}

/* Looking at a page that was never touched would allocate it: ask where there is data. */
static int save_resident(struct save *s, uint64_t offset, uint64_t len)
{
	const struct apf_mem *m = s->mem;
	uint64_t from = offset, end = offset + len;
	int r = 0;

	while (!r) {
		off_t data = lseek(m->fd, (off_t)from, SEEK_DATA);
		off_t hole = data < 0 ? data : lseek(m->fd, data, SEEK_HOLE);

		if (data < 0 || hole < 0 || (uint64_t)data >= end)
			break;
		from = (uint64_t)hole < end ? (uint64_t)hole : end;
		r = write_range(s, m->c + data, (uint64_t)data, from - (uint64_t)data);
	}
	if (!r)
		advance(s, len);
	return r;
}

enum where { HERE, IN_STORE, NOWHERE };

static enum where where(const struct apf_mem *m, uint64_t page)
{
	if (apf_map_resident(m, page))
		return HERE;
	return apf_map_zero(m, page) ? NOWHERE : IN_STORE;
}

/* Pages that are all in the same place. */
static int save_run(struct save *s, enum where at, uint64_t offset, uint64_t len)
{
	if (at == HERE)
		return save_resident(s, offset, len);
	if (at == IN_STORE)
		return save_missing(s, offset, (uint32_t)len);
	advance(s, len);
	return 0;
}

static int save_all(struct save *s)
{
	const struct apf_mem *m = s->mem;
	uint64_t page = 0, n;
	int r = 0;

	for (; page < m->pages && !r; page += n) {
		enum where at = where(m, page);
		uint64_t most = (at == IN_STORE ? s->run : CHUNK_BYTES) >> m->page_shift;

		for (n = 1; n < most && page + n < m->pages && where(m, page + n) == at; n++)
			;
		r = save_run(s, at, page_offset(m, page), page_offset(m, n));
	}
	for (unsigned int i = 0; i < s->slots && !r; i++)
		r = empty_slot(s, &s->slot[i]);
	/* After an error too, reads must have ended before their buffers go. */
	for (unsigned int i = 0; i < s->slots; i++)
		wait_for_slot(s, &s->slot[i]);
	return r;
}

static int check_file(const struct apf_mem *m, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return apf_error_set(-errno, "cannot save RAM: %s", strerror(errno));
	/* Old bytes would show where a hole is left; and it might be what the store reads from. */
	if (st.st_size)
		return apf_error_set(-EEXIST, "cannot save RAM: the file is not empty");
	if (ftruncate(fd, (off_t)m->cfg.size))
		return apf_error_set(-errno, "cannot save RAM: %s", strerror(errno));
	return 0;
}

/* Buffers are used from the first on, and cost memory when they are. */
static int make_slots(struct save *s, char **bufs)
{
	uint32_t most = MAX_BUFFERS / s->run, fetches = s->mem->cfg.max_fetches;

	s->slots = fetches < most ? fetches : most;
	s->slot = calloc(s->slots, sizeof(*s->slot));
	*bufs = mmap(NULL, (size_t)s->slots * s->run, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!s->slot || *bufs == MAP_FAILED)
		return apf_error_set(-ENOMEM, "no memory to save RAM with");
	for (unsigned int i = 0; i < s->slots; i++) {
		s->slot[i].save = s;
		s->slot[i].buf = *bufs + (size_t)i * s->run;
	}
	return 0;
}

int apf_mem_save(struct apf_mem *m, int fd, void (*progress)(void *arg, uint64_t done), void *arg)
{
	struct save s = {
		.mem = m, .fd = fd, .progress = progress, .arg = arg,
		.run = RUN_BYTES >> m->page_shift ? RUN_BYTES : 1u << m->page_shift,
	};
	char *bufs = MAP_FAILED;
	int r = check_file(m, fd);

	if (r < 0)
		return r;
	r = make_slots(&s, &bufs);
	if (!r) {
		pthread_mutex_init(&s.lock, NULL);
		pthread_cond_init(&s.cond, NULL);
		r = save_all(&s);
		pthread_cond_destroy(&s.cond);
		pthread_mutex_destroy(&s.lock);
	}
	if (bufs != MAP_FAILED)
		munmap(bufs, (size_t)s.slots * s.run);
	free(s.slot);
	return r;
}
