/* SPDX-License-Identifier: MIT */
/* Cached access to guest-physical memory; see include/apf/gpa_cache.h. */
#include <errno.h>

#include <apf/gpa_cache.h>

#include "kvm/binding.h"

/* Point the cache at the slot that holds all of [gpa, gpa + len). 0 or -ERANGE. */
static int look_up(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa, size_t len)
{
	const struct apf_kvm_slot *s = apf_slot_at(k, gpa);

	if (!s || len > slot_end(s) - gpa)
		return -ERANGE;
	*c = (struct apf_gpa_cache){ .gpa = s->gpa, .size = s->size, .offset = s->offset,
				     .readonly = s->readonly, .layout = k->layout };
	return 0;
}

static int find(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa, size_t len,
		uint64_t *offset)
{
	uint64_t at = gpa - c->gpa;	/* below the slot: huge */
	int err = 0;

	if (c->layout != k->layout || at >= c->size || len > c->size - at)
		err = look_up(c, k, gpa, len);
	*offset = gpa - c->gpa + c->offset;
	return err;
}

int apf_gpa_cache_read(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa, void *buf,
		       size_t len)
{
	uint64_t offset;

	return find(c, k, gpa, len, &offset) ?: apf_mem_read(k->cfg.mem, offset, buf, len);
}

int apf_gpa_cache_write(struct apf_gpa_cache *c, const struct apf_kvm *k, uint64_t gpa,
			const void *buf, size_t len)
{
	uint64_t offset;
	int err = find(c, k, gpa, len, &offset);

	if (!err && c->readonly)
		err = -ERANGE;
	return err ? err : apf_mem_write(k->cfg.mem, offset, buf, len);
}
