/* SPDX-License-Identifier: MIT */
/* The stores and filters that come with the library, and what they share. */
#ifndef STORE_BUILTIN_H
#define STORE_BUILTIN_H

#include "store/loop.h"

extern const struct apf_store_ops apf_store_file;
extern const struct apf_store_ops apf_store_zero;
extern const struct apf_store_ops apf_store_latency;
extern const struct apf_store_ops apf_store_error;
extern const struct apf_store_ops apf_store_stats;

/*
 * Take the next word of a colon-separated argument into buf; *arg moves behind
 * it. 1: there was one; 0: the end; -EINVAL: longer than buf.
 */
int apf_arg_word(const char **arg, char *buf, size_t size);

/* If word is "key=value", return value, else NULL. */
const char *apf_arg_value(const char *word, const char *key);

/* The whole of text as an unsigned decimal number. 0, -EINVAL or -ERANGE. */
int apf_parse_number(const char *text, uint64_t *value);

/* End io with res in the loop's next round of timers: never from inside submit. */
void apf_io_complete_later(struct apf_loop *l, struct apf_io *io, int res);

/* splitmix64: small, seedable, good enough for delays and injected errors. */
static inline uint64_t apf_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

#endif
