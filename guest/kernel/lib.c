/* SPDX-License-Identifier: MIT */
/* Strings and memory; the compiler expects the mem functions of any kernel. */
#include "kernel.h"

bool str_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *str_after(const char *text, const char *prefix)
{
	for (; *prefix; text++, prefix++)
		if (*text != *prefix)
			return NULL;
	return text;
}

static uint32_t digit(char c)
{
	if (c >= '0' && c <= '9')
		return (uint32_t)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (uint32_t)(c - 'a') + 10;
	return UINT32_MAX;
}

uint64_t str_number(const char **at, uint32_t base)
{
	uint64_t value = 0;

	while (**at == ' ')
		++*at;
	if (base == 16 && str_after(*at, "0x"))
		*at += 2;
	for (; digit(**at) < base; ++*at)
		value = value * base + digit(**at);
	return value;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *p = a, *q = b;

	for (; size; size--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
