/* SPDX-License-Identifier: MIT */
/* The far end of the guest's serial line; see console.h. */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <apf/error.h>

#define MARKS_BYTES_MAX	(4u << 20)
#define SEEN_SIZE	(256u << 10)
#define OUT_LINE	4096u	/* output is written at a line's end, or when there is so much of it */
#define OUT_NOTE	96u	/* room for the line that says what was dropped */

/*
 * Pipes and terminals are shared with other processes, and so is O_NONBLOCK: a description
 * of our own has its own. Where there is none, out_fd is written to when poll says so.
 */
static void open_out(struct vmm_console *c)
{
	char path[32];
	struct stat st;
	int fd = -1;

	c->fd = c->cfg.out_fd;
	if (c->fd < 0 || fstat(c->fd, &st) || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	c->fd = fd;
	c->own_fd = true;
}

int vmm_console_init(struct vmm_console *c, const struct vmm_console_config *cfg)
{
	memset(c, 0, sizeof(*c));
	c->cfg = *cfg;
	c->marks_end = &c->marks;
	c->seen = malloc(SEEN_SIZE);
	c->out = malloc(VMM_OUT_MAX);
	if (!c->seen || !c->out) {
		free(c->seen);
		free(c->out);
		c->seen = c->out = NULL;
		return apf_error_set(-ENOMEM, "no memory for the console");
	}
	open_out(c);
	pthread_mutex_init(&c->lock, NULL);
	return 0;
}

void vmm_console_destroy(struct vmm_console *c)
{
	if (!c->seen)
		return;
	while (c->marks) {
		struct vmm_mark *next = c->marks->next;

		free(c->marks);
		c->marks = next;
	}
	if (c->own_fd)
		close(c->fd);
	free(c->seen);
	free(c->out);
	c->seen = c->out = NULL;
	pthread_mutex_destroy(&c->lock);
}

static uint64_t since_start(const struct vmm_console *c)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - c->cfg.start_ns;
}

static bool can_write(const struct vmm_console *c, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLOUT };

	return poll(&p, 1, ms) == 1;
}

/*
 * Output that nobody can take any more is dropped: the guest must not stop because a reader
 * went away. A pipe that poll calls writable has room for this much.
 */
static void write_out(struct vmm_console *c)
{
	while (c->fd >= 0 && c->out_pos < c->out_len && can_write(c, 0)) {
		size_t len = c->out_len - c->out_pos;
		ssize_t n = write(c->fd, c->out + c->out_pos, len < OUT_LINE ? len : OUT_LINE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			c->out_pos = c->out_len;
		else
			c->out_pos += (size_t)n;
	}
	if (c->fd < 0 || c->out_pos == c->out_len)
		c->out_pos = c->out_len = 0;
}

static bool has_room(struct vmm_console *c, size_t len)
{
	if (c->out_len + len <= VMM_OUT_MAX)
		return true;
	if (!c->out_pos)
		return false;
	memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
	c->out_len -= c->out_pos;
	c->out_pos = 0;
	return c->out_len + len <= VMM_OUT_MAX;
}

/* Where something was dropped the reader sees how much. */
static void tell_dropped(struct vmm_console *c)
{
	if (!c->out_dropped || !has_room(c, OUT_LINE))
		return;
	c->out_len += (size_t)snprintf(c->out + c->out_len, OUT_NOTE, "\n[apf: %" PRIu64
				       " bytes of output dropped: nobody read them]\n", c->out_dropped);
	c->out_dropped = 0;
}

static void put_out(struct vmm_console *c, char byte)
{
	tell_dropped(c);
	if (c->out_dropped || !has_room(c, 1)) {
		c->out_dropped++;
		return;
	}
	c->out[c->out_len++] = byte;
	if (byte == '\n' || (c->out_len - c->out_pos) % OUT_LINE == 0)
		write_out(c);
}

static void add_mark(struct vmm_console *c)
{
	struct vmm_mark *m;
	size_t size = sizeof(*m) + c->line_len + 1;

	if (c->marks_bytes + size > MARKS_BYTES_MAX) {
		c->marks_dropped++;
		return;
	}
	m = malloc(size);
	if (!m) {
		c->marks_dropped++;
		return;
	}
	m->next = NULL;
	m->ns = since_start(c);
	memcpy(m->text, c->line, c->line_len + 1);
	*c->marks_end = m;
	c->marks_end = &m->next;
	c->marks_bytes += size;
}

/* Keep the line for vmm_console_seen; when full, the older half goes, at a line's end. */
static void remember(struct vmm_console *c)
{
	if (c->seen_len + c->line_len + 1 > SEEN_SIZE) {
		const size_t half = SEEN_SIZE / 2;
		const char *cut = memchr(c->seen + half, '\n', c->seen_len - half);
		size_t from = cut ? (size_t)(cut + 1 - c->seen) : c->seen_len;

		memmove(c->seen, c->seen + from, c->seen_len - from);
		c->seen_len -= from;
	}
	memcpy(c->seen + c->seen_len, c->line, c->line_len);
	c->seen_len += c->line_len;
	c->seen[c->seen_len++] = '\n';
}

static void end_line(struct vmm_console *c)
{
	while (c->line_len && c->line[c->line_len - 1] == '\r')
		c->line_len--;
	c->line[c->line_len] = '\0';
	remember(c);
	for (unsigned int i = 0; i < c->cfg.nr_marks; i++) {
		if (!strncmp(c->line, c->cfg.marks[i], strlen(c->cfg.marks[i]))) {
			add_mark(c);
			break;
		}
	}
	if (c->cfg.until && strstr(c->line, c->cfg.until))
		c->cfg.until_seen(c->cfg.ctx, c->line);
	c->line_len = 0;
}

void vmm_console_put(struct vmm_console *c, char byte)
{
	pthread_mutex_lock(&c->lock);
	put_out(c, byte);
	/* A zero byte would hide the rest of the line from the text functions. */
	if (byte != '\n' && byte != '\0')
		c->line[c->line_len++] = byte;
	if (byte == '\n' || c->line_len == VMM_LINE_MAX)
		end_line(c);
	pthread_mutex_unlock(&c->lock);
}

void vmm_console_flush(struct vmm_console *c)
{
	pthread_mutex_lock(&c->lock);
	write_out(c);
	tell_dropped(c);
	pthread_mutex_unlock(&c->lock);
}

int vmm_console_waits_for(struct vmm_console *c)
{
	int fd;

	pthread_mutex_lock(&c->lock);
	fd = c->out_pos < c->out_len ? c->fd : -1;
	pthread_mutex_unlock(&c->lock);
	return fd;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void vmm_console_drain(struct vmm_console *c, unsigned int ms)
{
	const uint64_t end = now_ms() + ms;

	vmm_console_flush(c);
	for (uint64_t now; vmm_console_waits_for(c) >= 0 && (now = now_ms()) < end;) {
		can_write(c, (int)(end - now));
		vmm_console_flush(c);
	}
}

bool vmm_console_seen(struct vmm_console *c, const char *text)
{
	bool seen;

	pthread_mutex_lock(&c->lock);
	seen = memmem(c->seen, c->seen_len, text, strlen(text));
	pthread_mutex_unlock(&c->lock);
	return seen;
}

const struct vmm_mark *vmm_console_marks(const struct vmm_console *c)
{
	return c->marks;
}

size_t vmm_console_partial(struct vmm_console *c, char *buf)
{
	size_t len;

	pthread_mutex_lock(&c->lock);
	len = c->line_len;
	memcpy(buf, c->line, len);
	pthread_mutex_unlock(&c->lock);
	return len;
}

void vmm_console_set_partial(struct vmm_console *c, const char *buf, size_t len)
{
	pthread_mutex_lock(&c->lock);
	c->line_len = len < VMM_LINE_MAX ? len : VMM_LINE_MAX - 1;
	memcpy(c->line, buf, c->line_len);
	pthread_mutex_unlock(&c->lock);
}
