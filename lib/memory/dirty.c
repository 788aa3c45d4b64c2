/* SPDX-License-Identifier: MIT */
/*
 * Pages that we write for the guest, for a VMM that copies RAM while the VM runs: KVM's dirty
 * log knows of the guest's own writes only. One bit a page of the host.
 */
#include <errno.h>
#include <sys/mman.h>

#include <apf/error.h>

#include "memory/memory.h"

#define WORD_BITS 64u

static size_t bytes(const struct apf_mem *m)
{
	uint64_t pages = m->cfg.size / m->host_page;

	return (pages + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
}

int apf_dirty_open(struct apf_mem *m)
{
	void *p = mmap(NULL, bytes(m), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return apf_error_set(-ENOMEM, "no memory for the map of written pages");
	m->dirty = p;
	return 0;
}

void apf_dirty_close(struct apf_mem *m)
{
	munmap((void *)m->dirty, bytes(m));
}

/*
 * After the bytes, and always a full barrier: whoever takes the bit away copies the page next
 * and must see them.
 */
void apf_dirty_mark(struct apf_mem *m, uint64_t offset, uint64_t len)
{
	uint64_t i = offset / m->host_page, end = (offset + len + m->host_page - 1) / m->host_page;

	for (; len && i < end; i++)
		atomic_fetch_or(&m->dirty[i / WORD_BITS], 1ull << i % WORD_BITS);
}

int apf_mem_dirty(struct apf_mem *m, uint64_t offset, uint64_t len, uint64_t *bitmap)
{
	uint64_t first = offset / m->host_page, end = (offset + len) / m->host_page;

	if (offset > m->cfg.size || len > m->cfg.size - offset)
		return apf_error_set(-ERANGE, "dirty pages: 0x%llx+0x%llx is not inside RAM",
				     (unsigned long long)offset, (unsigned long long)len);
	if ((offset | len) % m->host_page)
		return apf_error_set(-EINVAL, "dirty pages: 0x%llx+0x%llx are not whole pages of %u "
				     "bytes", (unsigned long long)offset, (unsigned long long)len,
				     m->host_page);
	for (uint64_t i = first; i < end; i++) {
		uint64_t bit = 1ull << i % WORD_BITS, n = i - first;

		if (!atomic_load(&m->dirty[i / WORD_BITS])) {
			i |= WORD_BITS - 1;	/* most words are empty */
			continue;
		}
		if (atomic_fetch_and(&m->dirty[i / WORD_BITS], ~bit) & bit)
			bitmap[n / WORD_BITS] |= 1ull << n % WORD_BITS;
	}
	return 0;
}
