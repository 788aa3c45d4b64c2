/* SPDX-License-Identifier: MIT */
/*
 * Guest RAM in guest-physical space: below 3 GiB and from 4 GiB up; in the memfd it is
 * one piece. The only way in is vmm_ram_at, which checks for overflow.
 */
#ifndef VMM_RAM_H
#define VMM_RAM_H

#include <stddef.h>
#include <stdint.h>

#include <apf/kvm.h>

#define VMM_RAM_LOW_END		(3ull << 30)	/* devices and KVM's own pages live above */
#define VMM_RAM_HIGH_START	(4ull << 30)

struct vmm_ram {
	uint8_t *base;			/* view B */
	struct apf_kvm_slot slots[2];
	unsigned int nr_slots;
};

/* Lay out `size` bytes (a multiple of 4096) at base. */
void vmm_ram_init(struct vmm_ram *ram, void *base, uint64_t size);

/* Where the VMM sees [gpa, gpa + len), or NULL if that is not all RAM. */
void *vmm_ram_at(const struct vmm_ram *ram, uint64_t gpa, uint64_t len);

#endif
