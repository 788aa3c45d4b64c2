/* SPDX-License-Identifier: MIT */
/* Guest RAM itself: the memfd, its three views, and access without side effects. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apf/error.h>

#include "memory/memory.h"

/* Arming and mapping a chunk then touches one page table. */
#define VIEW_ALIGN	CHUNK_BYTES

/*
 * Map [offset, offset + len) of the memfd at its place in a view; 0 or negative errno. A child
 * must not inherit it (its accesses would meet no trap), no huge page may show a page that has
 * not come, and a core dump would write all of RAM, once per view.
 */
int apf_ram_map(struct apf_mem *m, char *view, uint64_t offset, uint64_t len)
{
	if (mmap(view + offset, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 m->fd, (off_t)offset) == MAP_FAILED || madvise(view + offset, len, MADV_DONTFORK) ||
	    madvise(view + offset, len, MADV_DONTDUMP))
		return -errno;
	madvise(view + offset, len, MADV_NOHUGEPAGE);	/* EINVAL where there are none */
	return 0;
}

/* Take pages out of the memfd, and so out of all views: 0 or negative errno. */
int apf_ram_punch(struct apf_mem *m, uint64_t page, uint64_t n)
{
	return fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)page_offset(m, page), (off_t)page_offset(m, n)) ? -errno : 0;
}

static int map_view(struct apf_mem *m, char **view)
{
	size_t size = m->cfg.size;
	char *room = mmap(NULL, size + VIEW_ALIGN, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at;
	int r;

	if (room == MAP_FAILED)
		return apf_error_set(-errno, "no address space for %zu bytes of RAM: %s", size,
				     strerror(errno));
	at = (char *)(((uintptr_t)room + VIEW_ALIGN - 1) & ~(uintptr_t)(VIEW_ALIGN - 1));
	if (at > room)
		munmap(room, (size_t)(at - room));
	munmap(at + size, (size_t)(room + VIEW_ALIGN - at));
	r = apf_ram_map(m, at, 0, size);
	if (r < 0) {
		munmap(at, size);
		return apf_error_set(r, "cannot map %zu bytes of RAM: %s", size, strerror(-r));
	}
	*view = at;
	return 0;
}

int apf_ram_open(struct apf_mem *m)
{
	int r;

	/* Its size is for good. A seal on writes would forbid to punch holes, too. */
	m->fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->cfg.size) ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) {
		r = apf_error_set(-errno, "no memfd of %llu bytes: %s",
				  (unsigned long long)m->cfg.size, strerror(errno));
		goto fail;
	}
	r = map_view(m, &m->a);
	if (!r)
		r = map_view(m, &m->b);
	if (!r)
		r = map_view(m, &m->c);
	if (!r)
		return 0;
fail:
	apf_ram_close(m);
	return r;
}

void apf_ram_close(struct apf_mem *m)
{
	char *views[] = { m->a, m->b, m->c };

	for (unsigned int i = 0; i < 3; i++)
		if (views[i])
			munmap(views[i], m->cfg.size);
	if (m->fd >= 0)
		close(m->fd);
}

uint64_t apf_mem_size(const struct apf_mem *m)
{
	return m->cfg.size;
}

void *apf_mem_view_a(const struct apf_mem *m)
{
	return m->a;
}

void *apf_mem_view_b(const struct apf_mem *m)
{
	return m->b;
}

int apf_mem_fd(const struct apf_mem *m)
{
	return m->fd;
}

uint32_t apf_mem_page_size(const struct apf_mem *m)
{
	return 1u << m->page_shift;
}

uint64_t apf_mem_page_of(const struct apf_mem *m, const void *addr)
{
	uintptr_t offset = (uintptr_t)addr - (uintptr_t)m->a;	/* wraps below A: huge */

	return offset < m->cfg.size ? small_of(m, offset >> m->page_shift) : UINT64_MAX;
}

static int check_range(const struct apf_mem *m, uint64_t offset, size_t len)
{
	uint64_t page = offset >> m->page_shift, end = offset + len;

	if (offset > m->cfg.size || len > m->cfg.size - offset)
		return apf_error_set(-ERANGE, "0x%llx+0x%zx is not inside RAM",
				     (unsigned long long)offset, len);
	for (; len && page_offset(m, page) < end; page++)
		if (!apf_map_resident(m, page))
			return apf_error_set(-EFAULT, "page %llu is not resident",
					     (unsigned long long)small_of(m, page));
	return 0;
}

int apf_mem_read(const struct apf_mem *m, uint64_t offset, void *buf, size_t len)
{
	int r = check_range(m, offset, len);

	if (r)
		return r;
	if (len == 4 && offset % 4 == 0) {
		uint32_t word = __atomic_load_n((uint32_t *)(m->c + offset), __ATOMIC_ACQUIRE);

		memcpy(buf, &word, sizeof(word));
		return 0;
	}
	memcpy(buf, m->c + offset, len);
	return 0;
}

int apf_mem_write(struct apf_mem *m, uint64_t offset, const void *buf, size_t len)
{
	int r = check_range(m, offset, len);

	if (r)
		return r;
	if (len == 4 && offset % 4 == 0) {
		uint32_t word;

		memcpy(&word, buf, sizeof(word));
		__atomic_store_n((uint32_t *)(m->c + offset), word, __ATOMIC_RELEASE);
	} else {
		memcpy(m->c + offset, buf, len);
	}
	apf_dirty_mark(m, offset, len);
	return 0;
}
