/* SPDX-License-Identifier: MIT */
/*
 * What is inside the arm64 sections of a snapshot, as bytes that may be hostile, and
 * which registers of the interrupt controller make up its state.
 */
#ifndef VMM_REGS_ARM64_H
#define VMM_REGS_ARM64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"

/*
 * A register as KVM_GET_ONE_REG has it. Section one_regs: the id as u64, the value in as
 * many bytes as the id says, zero bytes up to a multiple of 8; and so on.
 */
struct vmm_reg {
	uint64_t id;
	size_t size;		/* of the value */
	const uint8_t *value;
};

/* Bytes of a register's value, 1 to 256; 0: no register has this id. Pure. */
size_t vmm_reg_size(uint64_t id);
/*
 * The register at *pos of a section, which moves behind it: 1; 0: the section ends here;
 * -EINVAL + apf_error: malformed. Pure.
 */
int vmm_regs_next(const struct vmm_bytes *b, size_t *pos, struct vmm_reg *out);

/* Groups of registers, by KVM's numbers. */
enum vmm_gic_group {
	VMM_GIC_DIST = 1,	/* distributor: 32-bit registers by offset */
	VMM_GIC_REDIST = 5,	/* a vCPU's redistributor: the same */
	VMM_GIC_SYSREGS = 6,	/* a vCPU's interface: 64-bit system registers by encoding */
	VMM_GIC_LEVELS = 7,	/* interrupt lines: 32 of them by the first one's number */
};

/* One register in sections gic and gic_vcpu. */
struct vmm_gic_reg {
	uint32_t group, reg;
	uint64_t value;
};

/* Registers of one group in a row, in the order in which they are saved and loaded. */
struct vmm_gic_range {
	bool of_vcpu;		/* in gic_vcpu, else in gic */
	enum vmm_gic_group group;
	uint32_t first, count, step;
	bool optional;		/* not every processor has them */
};
#define VMM_GIC_RANGES	25u
extern const struct vmm_gic_range vmm_gic_ranges[VMM_GIC_RANGES];

/*
 * As vmm_regs_next, for sections gic and gic_vcpu (of_vcpu); a register that is none of
 * the ranges' is malformed.
 */
int vmm_gic_next(const struct vmm_bytes *b, size_t *pos, bool of_vcpu, struct vmm_gic_reg *out);

#endif
