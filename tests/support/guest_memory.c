/* SPDX-License-Identifier: MIT */
#include "guest_memory.h"

#include <errno.h>
#include <string.h>

void *guest_memory_at(const struct guest_memory *m, uint64_t gpa, size_t len)
{
	const uint64_t offset = gpa - m->gpa;

	if (offset > m->size || len > m->size - offset)
		return NULL;
	return (uint8_t *)m->bytes + offset;
}

static bool all_here(const struct guest_memory *m, uint64_t gpa, size_t len)
{
	const uint64_t first = (gpa - m->gpa) / GUEST_PAGE, last = (gpa - m->gpa + len - 1) / GUEST_PAGE;

	for (uint64_t page = first; m->here && page <= last; page++)
		if (!m->here[page])
			return false;
	return true;
}

static void *reach(const struct guest_memory *m, uint64_t gpa, size_t len)
{
	void *at = guest_memory_at(m, gpa, len);

	return at && !m->unreachable && all_here(m, gpa, len) ? at : NULL;
}

int guest_memory_read(const struct guest_memory *m, uint64_t gpa, void *buf, size_t len)
{
	const void *at = reach(m, gpa, len);

	if (!at)
		return -EFAULT;
	memcpy(buf, at, len);
	return 0;
}

int guest_memory_write(const struct guest_memory *m, uint64_t gpa, const void *buf, size_t len)
{
	void *at = reach(m, gpa, len);

	if (!at || m->read_only)
		return -EFAULT;
	memcpy(at, buf, len);
	return 0;
}

bool guest_memory_is_ram(const struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	return gpa < m->ram && len <= m->ram - gpa;
}
