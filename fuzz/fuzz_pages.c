/* SPDX-License-Identifier: MIT */
/* Lists of pages (apf restore --preload) as hostile bytes: what is taken lies inside RAM, in order. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "vmm/pages.h"

#define RAM_PAGES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apf_mem_range *r;
	uint64_t next = 0;
	size_t n;

	if (vmm_pages_parse((const char *)data, size, RAM_PAGES, &r, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!r[i].n || r[i].page < next || r[i].page >= RAM_PAGES ||
		    r[i].n > RAM_PAGES - r[i].page)
			abort();
		next = r[i].page + r[i].n;
	}
	free(r);
	return 0;
}
