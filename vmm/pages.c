/* SPDX-License-Identifier: MIT */
/* Lists of pages; see pages.h. */
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <apf/store.h>

static const char head[] = "apf-pages 1\n";

/* A decimal number before `end`; *p moves behind it. False: none, or too big. */
static bool number(const char **p, const char *end, uint64_t *value)
{
	const char *from = *p;

	for (*value = 0; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
		if (*value > UINT64_MAX / 10 - 1)
			return false;
		*value = *value * 10 + (uint64_t)(**p - '0');
	}
	return *p > from;
}

/* One line: "PAGE COUNT\n", behind all pages before it. */
static bool line(const char **p, const char *end, uint64_t first, uint64_t ram_pages,
		 struct apf_mem_range *r)
{
	if (!number(p, end, &r->page) || *p == end || *(*p)++ != ' ' || !number(p, end, &r->n) ||
	    *p == end || *(*p)++ != '\n')
		return false;
	return r->n && r->page >= first && r->page < ram_pages && r->n <= ram_pages - r->page;
}

static size_t count_lines(const char *p, const char *end)
{
	size_t n = 0;

	for (; p < end; p++)
		n += *p == '\n';
	return n;
}

int vmm_pages_parse(const char *text, size_t len, uint64_t ram_pages, struct apf_mem_range **out,
		    size_t *n)
{
	const char *p = text + strlen(head), *end = text + len;
	struct apf_mem_range *r;
	uint64_t next = 0;

	if (len < strlen(head) || memcmp(text, head, strlen(head)))
		return apf_error_set(-EINVAL, "page list: does not start with \"apf-pages 1\"");
	r = calloc(count_lines(p, end) + 1, sizeof(*r));
	if (!r)
		return apf_error_set(-ENOMEM, "page list: no memory");
	for (*n = 0; p < end; (*n)++) {
		if (!line(&p, end, next, ram_pages, &r[*n])) {
			free(r);
			return apf_error_set(-EINVAL, "page list: line %zu is not \"PAGE COUNT\", out of "
					     "order, or outside RAM of %" PRIu64 " pages", *n + 2,
					     ram_pages);
		}
		next = r[*n].page + r[*n].n;
	}
	*out = r;
	return 0;
}

static void write_ranges(const struct apf_mem *m, FILE *f)
{
	uint64_t pages = apf_mem_size(m) / APF_PAGE_SIZE, from;

	fputs(head, f);
	for (uint64_t page = 0; page < pages; page++) {
		for (from = page; apf_mem_resident(m, page); page++)
			;
		if (page > from)
			fprintf(f, "%" PRIu64 " %" PRIu64 "\n", from, page - from);
	}
}

int vmm_pages_write(const struct apf_mem *m, const char *path)
{
	FILE *f = fopen(path, "w");
	int err = 0;

	if (!f)
		return apf_error_set(-errno, "page list: cannot create %s: %s", path, strerror(errno));
	write_ranges(m, f);
	if (ferror(f))
		err = -EIO;
	if (fclose(f) && !err)
		err = -errno;
	return err ? apf_error_set(err, "page list: cannot write %s: %s", path, strerror(-err)) : 0;
}
