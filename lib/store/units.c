/* SPDX-License-Identifier: MIT */
/* Numbers as people write them: durations and sizes. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>

#include "store/builtin.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit durations[] = {
	{ "", 1 }, { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 }, { 0 },
};

static const struct unit sizes[] = {
	{ "", 1 }, { "K", 1ull << 10 }, { "M", 1ull << 20 }, { "G", 1ull << 30 },
	{ "T", 1ull << 40 }, { 0 },
};

static int parse(const char *text, const struct unit *units, uint64_t *value)
{
	unsigned long long n;
	char *end;

	if (!text || !isdigit((unsigned char)*text))	/* strtoull would take "-1" */
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	for (const struct unit *u = units; u->name; u++) {
		if (strcmp(end, u->name))
			continue;
		return __builtin_mul_overflow(n, u->factor, value) ? -ERANGE : 0;
	}
	return -EINVAL;
}

int apf_parse_duration(const char *text, uint64_t *ns)
{
	uint64_t value;

	if (parse(text, durations, &value))
		return apf_error_set(-EINVAL, "\"%s\" is not a duration (20ms, 500us, 2s)",
				     text ? text : "");
	*ns = value;
	return 0;
}

int apf_parse_size(const char *text, uint64_t *bytes)
{
	uint64_t value;
	int r = parse(text, sizes, &value);

	if (r < 0)
		return apf_error_set(r, "\"%s\" is not a size (512K, 256M, 8G), or too big",
				     text ? text : "");
	*bytes = value;
	return 0;
}

int apf_parse_number(const char *text, uint64_t *value)
{
	static const struct unit none[] = { { "", 1 }, { 0 } };

	return parse(text, none, value);
}
