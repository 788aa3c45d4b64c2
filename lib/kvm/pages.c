/* SPDX-License-Identifier: MIT */
/* Where RAM lies in guest-physical space, and how it is reached from there. */
#include <errno.h>
#include <string.h>

#include <apf/store.h>

#include "kvm/binding.h"

void apf_slots_set(struct apf_kvm *k, const struct apf_kvm_slot *slots, unsigned int n)
{
	memcpy(k->slots, slots, n * sizeof(*slots));
	k->cfg.slots = k->slots;
	k->cfg.nr_slots = n;
	k->layout++;
}

const struct apf_kvm_slot *apf_slot_at(const struct apf_kvm *k, uint64_t gpa)
{
	for (unsigned int i = 0; i < k->cfg.nr_slots; i++) {
		const struct apf_kvm_slot *s = &k->slots[i];

		if (gpa >= s->gpa && gpa < slot_end(s))
			return s;
	}
	return NULL;
}

struct ram_page apf_page_at(const struct apf_kvm *k, uint64_t gpa)
{
	const struct apf_kvm_slot *s = apf_slot_at(k, gpa);

	return s ? (struct ram_page){ (gpa - s->gpa + s->offset) >> APF_PAGE_SHIFT } : NO_PAGE;
}

struct ram_page apf_page_of_gfn(const struct apf_kvm *k, struct gfn gfn)
{
	return apf_page_at(k, gfn.nr << APF_PAGE_SHIFT);
}

uint64_t apf_page_gpa(const struct apf_kvm *k, struct ram_page page)
{
	uint64_t offset = page.nr << APF_PAGE_SHIFT;

	for (unsigned int i = 0; i < k->cfg.nr_slots; i++) {
		const struct apf_kvm_slot *s = &k->slots[i];

		if (offset >= s->offset && offset - s->offset < s->size)
			return offset - s->offset + s->gpa;
	}
	return UINT64_MAX;
}

struct gfn apf_page_gfn(const struct apf_kvm *k, struct ram_page page)
{
	return (struct gfn){ apf_page_gpa(k, page) >> APF_PAGE_SHIFT };
}

int apf_page_want(struct apf_kvm *k, struct ram_page page)
{
	return apf_mem_want(k->cfg.mem, page.nr);
}

bool apf_gpa_is_ram(const struct apf_kvm *k, uint64_t gpa, uint64_t len)
{
	const struct apf_kvm_slot *s = apf_slot_at(k, gpa);

	return s && len <= slot_end(s) - gpa;
}

bool apf_gpa_is_writable(const struct apf_kvm *k, uint64_t gpa, uint64_t len)
{
	return apf_gpa_is_ram(k, gpa, len) && !apf_slot_at(k, gpa)->readonly;
}

int apf_gpa_need(const struct apf_kvm *k, uint64_t gpa, uint64_t len)
{
	uint64_t last = (gpa + len - 1) >> APF_PAGE_SHIFT;
	int err = 0;

	for (struct gfn gfn = { gpa >> APF_PAGE_SHIFT }; gfn.nr <= last && !err; gfn.nr++) {
		struct ram_page page = apf_page_of_gfn(k, gfn);

		err = is_page(page) ? apf_mem_need(k->cfg.mem, page.nr, 1) : 0;
	}
	return err;
}

/* In the memfd. */
static uint64_t offset_of(const struct apf_kvm *k, uint64_t gpa)
{
	return (apf_page_at(k, gpa).nr << APF_PAGE_SHIFT) + gpa % APF_PAGE_SIZE;
}

int apf_gpa_read(const struct apf_kvm *k, uint64_t gpa, void *buf, size_t len)
{
	if (!apf_gpa_is_ram(k, gpa, len))
		return -ERANGE;
	return apf_mem_read(k->cfg.mem, offset_of(k, gpa), buf, len);
}

int apf_gpa_write(const struct apf_kvm *k, uint64_t gpa, const void *buf, size_t len)
{
	if (!apf_gpa_is_writable(k, gpa, len))
		return -ERANGE;
	return apf_mem_write(k->cfg.mem, offset_of(k, gpa), buf, len);
}
