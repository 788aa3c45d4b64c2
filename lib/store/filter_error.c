/* SPDX-License-Identifier: MIT */
/* Filter: fail reads on purpose, at random, for a range of pages, or for the first attempts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>

#include "store/builtin.h"

struct error {
	double rate;
	uint64_t random;
	uint64_t first;			/* attempts of each page that may fail; 0: all */
	uint64_t from, to;		/* pages, both included */
	int err;
	uint8_t *attempts;		/* per page, with `first` only */
	uint64_t pages;
	char text[64];
};

static const struct {
	const char *name;
	int value;
} names[] = {
	{ "EIO", EIO }, { "ENOMEM", ENOMEM }, { "ENXIO", ENXIO }, { "ETIMEDOUT", ETIMEDOUT },
	{ "ENODATA", ENODATA }, { "EREMOTEIO", EREMOTEIO }, { "ECONNRESET", ECONNRESET },
};

/* A page counts its attempts whether they fail or not. */
static bool page_fails(struct error *p, uint64_t page)
{
	if (page < p->from || page > p->to)
		return false;
	if (p->attempts) {
		if (page >= p->pages || p->attempts[page] >= p->first)
			return false;
		p->attempts[page]++;
	}
	return (double)(apf_random(&p->random) >> 11) * 0x1p-53 < p->rate;
}

static void error_submit(struct apf_store *s, struct apf_io *io)
{
	struct error *p = s->state;
	uint64_t page = io->offset >> APF_PAGE_SHIFT;
	uint64_t end = page + (io->len >> APF_PAGE_SHIFT);
	bool fails = false;

	for (; page < end; page++)
		fails |= page_fails(p, page);
	if (!fails) {
		s->below->ops->submit(s->below, io);
		return;
	}
	io->error = p->text;
	apf_io_complete_later(s->loop, io, -p->err);
}

static int parse_rate(const char *value, double *rate)
{
	char *end;

	*rate = strtod(value, &end);
	return end == value || *end || !(*rate >= 0 && *rate <= 1) ? -EINVAL : 0;
}

static int parse_pages(struct error *p, const char *value)
{
	char first[32];
	const char *dash = strchr(value, '-');

	if (!dash || (size_t)(dash - value) >= sizeof(first))
		return -EINVAL;
	memcpy(first, value, (size_t)(dash - value));
	first[dash - value] = '\0';
	if (apf_parse_number(first, &p->from) || apf_parse_number(dash + 1, &p->to))
		return -EINVAL;
	return p->from <= p->to ? 0 : -EINVAL;
}

static int parse_errno(const char *value, int *err)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(value, names[i].name))
			continue;
		*err = names[i].value;
		return 0;
	}
	return -EINVAL;
}

static int parse_word(struct error *p, const char *word)
{
	const char *value;

	if ((value = apf_arg_value(word, "rate")))
		return parse_rate(value, &p->rate);
	if ((value = apf_arg_value(word, "seed")))
		return apf_parse_number(value, &p->random);
	if ((value = apf_arg_value(word, "first")))
		return apf_parse_number(value, &p->first) || !p->first || p->first > UINT8_MAX ?
		       -EINVAL : 0;
	if ((value = apf_arg_value(word, "pages")))
		return parse_pages(p, value);
	if ((value = apf_arg_value(word, "errno")))
		return parse_errno(value, &p->err);
	return -EINVAL;
}

static int error_open(struct apf_store *s, const char *arg)
{
	struct error *p = s->state;
	const char *rest = arg;
	char word[64];
	int r;

	*p = (struct error){ .rate = 1, .to = UINT64_MAX, .err = EIO };
	while ((r = apf_arg_word(&rest, word, sizeof(word))) == 1)
		if (parse_word(p, word))
			return apf_error_set(-EINVAL, "filter error: \"%s\" is none of rate=0..1, "
					     "seed=N, first=1..255, pages=A-B, errno=EIO", word);
	if (r < 0)
		return apf_error_set(r, "filter error: a word of \"%s\" is too long", arg);
	snprintf(p->text, sizeof(p->text), "injected: %s", strerror(p->err));
	p->pages = s->size >> APF_PAGE_SHIFT;
	if (!p->first || !p->pages)
		return 0;
	p->attempts = mmap(NULL, p->pages, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p->attempts == MAP_FAILED ? apf_error_set(-ENOMEM, "filter error: no memory") : 0;
}

static void error_close(struct apf_store *s)
{
	struct error *p = s->state;

	if (p->attempts)
		munmap(p->attempts, p->pages);
}

const struct apf_store_ops apf_store_error = {
	.version = APF_STORE_VERSION,
	.name = "error",
	.filter = true,
	.state_size = sizeof(struct error),
	.open = error_open,
	.submit = error_submit,
	.close = error_close,
};
