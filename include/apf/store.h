/* SPDX-License-Identifier: MIT */
/*
 * Where pages live. A store is a versioned table of functions that reads page
 * ranges asynchronously; a filter is a store in front of another one (latency,
 * error injection, statistics). Stores run on an event loop, one thread, that
 * the pager owns; no function of a store may block.
 */
#ifndef APF_STORE_H
#define APF_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * What a page number counts, on every host: of RAM, in a store, in saved state. The
 * host's own page, and so what is read at once, may be a multiple of it.
 */
#define APF_PAGE_SIZE	4096u
#define APF_PAGE_SHIFT	12u

/*
 * The event loop: one io_uring and timers. Everything here runs on the loop's
 * thread.
 */
struct apf_loop;

struct apf_timer {		/* the caller's memory; zero it before first use */
	uint64_t deadline_ns;	/* CLOCK_MONOTONIC */
	void (*fn)(struct apf_timer *t);
	uint32_t slot;		/* the loop's: place in the heap + 1, 0 = not armed */
};

struct apf_loop_op {		/* one I/O; the caller's memory, alive until fn */
	void (*fn)(struct apf_loop_op *op, int res);	/* res: bytes, or negative errno */
};

void apf_loop_timer_arm(struct apf_loop *l, struct apf_timer *t, uint64_t deadline_ns);
void apf_loop_timer_cancel(struct apf_loop *l, struct apf_timer *t);
uint64_t apf_loop_now(const struct apf_loop *l);	/* ns, refreshed once per turn */
/* Queue a read / a one-shot poll. 0, or -EBUSY: no room this turn (arm a timer and try again). */
int apf_loop_read(struct apf_loop *l, struct apf_loop_op *op, int fd, void *buf, uint32_t len,
		  uint64_t offset);
int apf_loop_poll(struct apf_loop *l, struct apf_loop_op *op, int fd, short events);

/* One read of consecutive pages. The caller's memory until done is called. */
struct apf_io {
	uint64_t offset;	/* bytes, multiple of 4096 */
	uint32_t len;		/* bytes, multiple of 4096, at least one page */
	void *buf;		/* where the data goes; page-aligned */
	/* Called once on the loop's thread, never from inside submit: 0, APF_IO_ZERO or negative errno. */
	void (*done)(struct apf_io *io, int res);
	const char *error;	/* for a negative res: what failed, read before done returns; or NULL */
	struct apf_timer timer;	/* for whoever holds the io at the moment */
	struct apf_loop_op op;
	struct apf_io *next;	/* same */
	uint32_t depth;		/* filters that wait for it */
	struct {
		void (*done)(struct apf_io *io, int res);
		void *ctx;
		uint64_t note;
	} frame[8];		/* a filter's own notes, see apf_io_push */
};

/* The range is all zeroes; buf was not written. */
#define APF_IO_ZERO	1

#define APF_STORE_VERSION	2u
#define APF_STORE_MAX_DEPTH	8u

struct apf_store;

struct apf_store_ops {
	uint32_t version;	/* APF_STORE_VERSION */
	const char *name;	/* the word before the colon in a specification */
	bool filter;		/* needs a store behind it */
	size_t state_size;	/* bytes of private state, zeroed before open */
	/* Parse arg (text behind the colon, may be NULL) and get ready. 0 or negative errno + apf_error. */
	int (*open)(struct apf_store *s, const char *arg);
	/* The loop is known now; called once on it before the first submit. May be NULL. */
	int (*start)(struct apf_store *s);
	/* Start reading. Ends with exactly one apf_io_complete(io, res), never from inside submit (arm a timer). */
	void (*submit)(struct apf_store *s, struct apf_io *io);
	/* Print statistics as a JSON object text into buf. May be NULL. */
	int (*stats)(struct apf_store *s, char *buf, size_t size);
	void (*close)(struct apf_store *s);
	/*
	 * Copy [offset, offset + len), whole pages, to the same place in fd without handing the bytes
	 * over (inside the file system). Any thread, beside everything else but open and close; may
	 * block. What is zero may stay a hole: fd has none of it yet. 0, or a negative errno: the
	 * range is read instead and some of it may have been copied. May be NULL; of a filter it
	 * would leave out what the filter does.
	 */
	int (*copy)(struct apf_store *s, int fd, uint64_t offset, uint64_t len);
};

struct apf_store {
	const struct apf_store_ops *ops;
	struct apf_store *below;	/* of a filter */
	struct apf_loop *loop;		/* from start on */
	uint64_t size;			/* bytes it holds; a filter inherits it */
	void *state;
};

/* Of a store or filter: the request has ended. Pops one filter frame or ends the io. */
void apf_io_complete(struct apf_io *io, int res);
/* Of a filter: be told (done) when the store below has finished. */
void apf_io_push(struct apf_io *io, void (*done)(struct apf_io *io, int res), void *ctx,
		 uint64_t note);

/*
 * Make a store known under ops->name (the table must stay). Before any open; not
 * thread-safe. 0, -EINVAL: wrong version, -EEXIST.
 */
int apf_store_register(const struct apf_store_ops *ops);

/*
 * Open a specification: filters from left to right in front of a store at the
 * end, separated by commas: "latency:20ms,error:rate=0.01,file:/path/ram".
 *   file:[direct=D:]PATH      raw file, page n at n*4096; its holes, looked up now, are zeroes. D is
 *                             auto: a page that the page cache has is copied from there (Linux 6.5),
 *                             others are read with O_DIRECT where it can; on: always O_DIRECT, or an
 *                             error; off: through the page cache
 *   zero:                     every page is zero; as big as anyone asks
 *   latency:D | latency:MIN-MAX[:seed=N]  fixed, or uniformly distributed
 *   error:rate=F[:seed=N][:first=K][:pages=A-B][:errno=EIO]
 *                             fail reads; first=K: only the first K attempts of each page (then it recovers)
 *   stats                     count requests, pages, zero pages, errors; latency histogram
 * 0 or a negative errno + apf_error. Any thread.
 */
int apf_store_open(const char *spec, struct apf_store **out);
/*
 * Put a filter, registered or not, in front of an open store, which is then its. What arg cannot
 * say the caller may put into (*out)->state. 0, or a negative errno + apf_error, and below is
 * still the caller's. Any thread, before the store is used.
 */
int apf_store_stack(const struct apf_store_ops *filter, const char *arg, struct apf_store *below,
		    struct apf_store **out);
/* Close a store and the filters in front of it, if no apf_mem has taken it over. Any thread. */
void apf_store_close(struct apf_store *s);

/* "500us", "20ms", "2s", "7" (ns) to nanoseconds; 0 or -EINVAL + apf_error. Any thread. */
int apf_parse_duration(const char *text, uint64_t *ns);
/* "512K", "256M", "8G", plain bytes; 0, -EINVAL or -ERANGE + apf_error. Any thread. */
int apf_parse_size(const char *text, uint64_t *bytes);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
