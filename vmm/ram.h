/* SPDX-License-Identifier: MIT */
/*
 * Guest RAM in guest-physical space: in the memfd it is one piece, for the guest it may
 * have a hole. The only way in is vmm_ram_at, which checks for overflow.
 */
#ifndef VMM_RAM_H
#define VMM_RAM_H

#include <stddef.h>
#include <stdint.h>

#include <apf/kvm.h>
#include <apf/memory.h>

/* Where a machine has RAM. */
struct vmm_ram_layout {
	uint64_t start;
	uint64_t low_max;	/* so many bytes lie from start on */
	uint64_t high_start;	/* where the rest lies, above a hole for devices */
};

struct vmm_ram {
	uint8_t *base;			/* view B */
	struct apf_kvm_slot slots[2];
	unsigned int nr_slots;
	/* Not NULL: what is asked for is fetched from it first, all at once: where a kernel is put. */
	struct apf_mem *mem;
};

/* Lay out `size` bytes (a multiple of 4096) at base. */
void vmm_ram_init(struct vmm_ram *ram, const struct vmm_ram_layout *layout, void *base,
		  uint64_t size);

/* Where the VMM sees [gpa, gpa + len), or NULL if that is not all RAM, or a page of it is lost. */
void *vmm_ram_at(const struct vmm_ram *ram, uint64_t gpa, uint64_t len);

#endif
