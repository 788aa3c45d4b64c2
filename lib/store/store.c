/* SPDX-License-Identifier: MIT */
/* Finding, stacking and closing stores; passing an io's end up through the filters. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>

#include "store/builtin.h"

#define MAX_KINDS	32

static const struct apf_store_ops *kinds[MAX_KINDS] = {
	&apf_store_file, &apf_store_zero, &apf_store_latency, &apf_store_error, &apf_store_stats,
};

static const struct apf_store_ops *find_kind(const char *name, size_t len)
{
	for (unsigned int i = 0; i < MAX_KINDS && kinds[i]; i++)
		if (strlen(kinds[i]->name) == len && !memcmp(kinds[i]->name, name, len))
			return kinds[i];
	return NULL;
}

int apf_store_register(const struct apf_store_ops *ops)
{
	if (ops->version != APF_STORE_VERSION)
		return apf_error_set(-EINVAL, "store %s has version %u of the table, not %u",
				     ops->name, ops->version, APF_STORE_VERSION);
	if (find_kind(ops->name, strlen(ops->name)))
		return apf_error_set(-EEXIST, "there is a store %s already", ops->name);
	for (unsigned int i = 0; i < MAX_KINDS; i++) {
		if (kinds[i])
			continue;
		kinds[i] = ops;
		return 0;
	}
	return apf_error_set(-EINVAL, "no room for store %s: %d kinds at most", ops->name,
			     MAX_KINDS);
}

static int open_one(const struct apf_store_ops *ops, const char *arg, struct apf_store *below,
		    struct apf_store **out)
{
	struct apf_store *s = calloc(1, sizeof(*s) + ops->state_size);
	int r;

	if (!s)
		return apf_error_set(-ENOMEM, "no memory for store %s", ops->name);
	s->ops = ops;
	s->state = s + 1;
	s->below = below;
	s->size = below ? below->size : 0;
	r = ops->open(s, arg);
	if (r < 0) {
		free(s);
		return r;
	}
	*out = s;
	return 0;
}

/*
 * Open the first word of spec, and what is behind it before it: a filter may look
 * at the store it stands in front of. Only a filter's argument ends at a comma, so
 * that a path may contain one.
 */
static int open_chain(const char *spec, unsigned int depth, struct apf_store **out)
{
	size_t len = strcspn(spec, ":,");
	const struct apf_store_ops *ops = find_kind(spec, len);
	struct apf_store *below = NULL;
	const char *end;
	char *arg = NULL;
	int r = 0;

	if (!ops)
		return apf_error_set(-EINVAL, "no store or filter is called \"%.*s\"", (int)len,
				     spec);
	if (depth == APF_STORE_MAX_DEPTH)
		return apf_error_set(-EINVAL, "more than %u stores in a row",
				     APF_STORE_MAX_DEPTH);
	end = ops->filter ? strchrnul(spec, ',') : spec + strlen(spec);
	if (ops->filter && !*end)
		return apf_error_set(-EINVAL, "filter %s needs a store behind it", ops->name);
	if (spec[len] == ':') {
		arg = strndup(spec + len + 1, (size_t)(end - spec) - len - 1);
		if (!arg)
			return apf_error_set(-ENOMEM, "no memory for store %s", ops->name);
	}
	if (ops->filter)
		r = open_chain(end + 1, depth + 1, &below);
	if (!r)
		r = open_one(ops, arg, below, out);
	if (r < 0 && below)
		apf_store_close(below);
	free(arg);
	return r;
}

int apf_store_stack(const struct apf_store_ops *filter, const char *arg, struct apf_store *below,
		    struct apf_store **out)
{
	unsigned int depth = 1;

	if (filter->version != APF_STORE_VERSION || !filter->filter)
		return apf_error_set(-EINVAL, "%s is no filter of version %u", filter->name,
				     APF_STORE_VERSION);
	for (const struct apf_store *s = below; s; s = s->below)
		depth++;
	if (depth > APF_STORE_MAX_DEPTH)
		return apf_error_set(-EINVAL, "more than %u stores in a row, %s in front",
				     APF_STORE_MAX_DEPTH, filter->name);
	return open_one(filter, arg, below, out);
}

int apf_store_open(const char *spec, struct apf_store **out)
{
	return open_chain(spec, 0, out);
}

void apf_store_close(struct apf_store *s)
{
	while (s) {
		struct apf_store *below = s->below;

		s->ops->close(s);
		free(s);
		s = below;
	}
}

int apf_store_start(struct apf_store *s, struct apf_loop *l)
{
	int r = s->below ? apf_store_start(s->below, l) : 0;

	s->loop = l;
	return r || !s->ops->start ? r : s->ops->start(s);
}

void apf_io_push(struct apf_io *io, void (*done)(struct apf_io *io, int res), void *ctx,
		 uint64_t note)
{
	assert(io->depth < APF_STORE_MAX_DEPTH);
	io->frame[io->depth].done = done;
	io->frame[io->depth].ctx = ctx;
	io->frame[io->depth].note = note;
	io->depth++;
}

void apf_io_complete(struct apf_io *io, int res)
{
	if (io->depth)
		io->frame[--io->depth].done(io, res);
	else
		io->done(io, res);
}

static void complete_now(struct apf_timer *t)
{
	struct apf_io *io = apf_container_of(t, struct apf_io, timer);

	apf_io_complete(io, (int)io->frame[io->depth].note);
}

void apf_io_complete_later(struct apf_loop *l, struct apf_io *io, int res)
{
	/* The frame above those in use is free: there are as many as stores in a row. */
	io->frame[io->depth].note = (uint64_t)res;
	io->timer.fn = complete_now;
	apf_loop_timer_arm(l, &io->timer, 0);
}

int apf_arg_word(const char **arg, char *buf, size_t size)
{
	size_t len;

	if (!*arg || !**arg)
		return 0;
	len = strcspn(*arg, ":");
	if (len >= size)
		return -EINVAL;
	memcpy(buf, *arg, len);
	buf[len] = '\0';
	*arg += len + ((*arg)[len] == ':');
	return 1;
}

const char *apf_arg_value(const char *word, const char *key)
{
	size_t len = strlen(key);

	return !strncmp(word, key, len) && word[len] == '=' ? word + len + 1 : NULL;
}
