/* SPDX-License-Identifier: MIT */
/* Guest RAM in guest-physical space; see ram.h. */
#include <apf/store.h>

#include "ram.h"

void vmm_ram_init(struct vmm_ram *ram, const struct vmm_ram_layout *layout, void *base,
		  uint64_t size)
{
	uint64_t low = size < layout->low_max ? size : layout->low_max;

	ram->base = base;
	ram->mem = NULL;
	ram->slots[0] = (struct apf_kvm_slot){ .gpa = layout->start, .size = low, .offset = 0 };
	ram->slots[1] = (struct apf_kvm_slot){ .gpa = layout->high_start, .size = size - low,
					       .offset = low };
	ram->nr_slots = size > low ? 2 : 1;
}

static bool bring(const struct vmm_ram *ram, uint64_t offset, uint64_t len)
{
	const uint64_t first = offset / APF_PAGE_SIZE;
	const uint64_t end = (offset + len + APF_PAGE_SIZE - 1) / APF_PAGE_SIZE;

	return !ram->mem || !apf_mem_need(ram->mem, first, end - first);
}

void *vmm_ram_at(const struct vmm_ram *ram, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < ram->nr_slots; i++) {
		const struct apf_kvm_slot *s = &ram->slots[i];
		const uint64_t offset = s->offset + (gpa - s->gpa);

		if (gpa >= s->gpa && gpa - s->gpa <= s->size && len <= s->size - (gpa - s->gpa))
			return bring(ram, offset, len) ? ram->base + offset : NULL;
	}
	return NULL;
}
