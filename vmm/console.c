/* SPDX-License-Identifier: MIT */
/* The far end of the guest's serial line; see console.h. */
#include "console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MARKS_BYTES_MAX	(4u << 20)
#define SEEN_SIZE	(256u << 10)

int vmm_console_init(struct vmm_console *c, const struct vmm_console_config *cfg)
{
	memset(c, 0, sizeof(*c));
	c->cfg = *cfg;
	c->marks_end = &c->marks;
	c->seen = malloc(SEEN_SIZE);
	if (!c->seen)
		return -ENOMEM;
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
	free(c->seen);
	c->seen = NULL;
	pthread_mutex_destroy(&c->lock);
}

static uint64_t since_start(const struct vmm_console *c)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - c->cfg.start_ns;
}

/* Output that nobody can take is dropped: the guest must not stop because a reader went away. */
static void write_out(struct vmm_console *c)
{
	size_t done = 0;

	while (c->cfg.out_fd >= 0 && done < c->out_len) {
		ssize_t n = write(c->cfg.out_fd, c->out + done, c->out_len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	c->out_len = 0;
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
	c->out[c->out_len++] = byte;
	if (c->out_len == sizeof(c->out) || byte == '\n')
		write_out(c);
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
	pthread_mutex_unlock(&c->lock);
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
