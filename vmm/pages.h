/* SPDX-License-Identifier: MIT */
/*
 * Lists of pages: which ones a restored VM has touched, so that a later restore of
 * the same snapshot can fetch them in one go. Text: a first line "apf-pages 1",
 * then "PAGE COUNT" lines, in pages of 4 KiB on every host, in order and without overlap.
 */
#ifndef VMM_PAGES_H
#define VMM_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include <apf/memory.h>

#define VMM_PAGES_BYTES_MAX (64u << 20)

/*
 * Parse a list (untrusted) for RAM of ram_pages. *out is the caller's to free. 0;
 * -EINVAL: the line that is wrong is named in apf_error; -ENOMEM.
 */
int vmm_pages_parse(const char *text, size_t len, uint64_t ram_pages, struct apf_mem_range **out,
		    size_t *n);

/* Write the list of all pages that are resident in m. 0 or a negative errno + apf_error. */
int vmm_pages_write(const struct apf_mem *m, const char *path);

#endif
