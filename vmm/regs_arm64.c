/* SPDX-License-Identifier: MIT */
/* Registers of arm64 as bytes; see regs_arm64.h. Nothing here knows a VM. */
#include "regs_arm64.h"

#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "machine_arm64.h"

#define SIZE_SHIFT	52u	/* an id has the value's size here, as a power of 2 */
#define SIZE_BITS	15u
#define SIZE_BITS_MAX	8u

#define SGI_PAGE	0x10000u	/* of a redistributor: private interrupts */
#define SPI_WORDS(bits)	((GIC_IRQS - GIC_FIRST_SPI) * (bits) / 32)
#define PPI_WORDS(bits)	(GIC_FIRST_SPI * (bits) / 32)
/* Behind the words of a bank that are the private interrupts'. */
#define SPI_BANK(base, bits) ((base) + PPI_WORDS(bits) * 4)
/* A register of the interface: op0 3, op1 0. */
#define ICC(crn, crm, op2) (3u << 14 | (crn) << 7 | (crm) << 3 | (op2))

/*
 * A level must be known before what is pending, and the trigger before either. What the
 * lines of SPIs are is asked of vCPU 0, but they are no vCPU's.
 */
const struct vmm_gic_range vmm_gic_ranges[VMM_GIC_RANGES] = {
	{ false, VMM_GIC_DIST, 0x0008, 1, 4, false },				/* IIDR */
	{ false, VMM_GIC_DIST, 0x0000, 1, 4, false },				/* CTLR */
	{ false, VMM_GIC_DIST, SPI_BANK(0x0080, 1), SPI_WORDS(1), 4, false },	/* IGROUPR */
	{ false, VMM_GIC_DIST, SPI_BANK(0x0c00, 2), SPI_WORDS(2), 4, false },	/* ICFGR */
	{ false, VMM_GIC_DIST, SPI_BANK(0x0400, 8), SPI_WORDS(8), 4, false },	/* IPRIORITYR */
	{ false, VMM_GIC_DIST, SPI_BANK(0x6000, 64), SPI_WORDS(64), 4, false },	/* IROUTER */
	{ false, VMM_GIC_DIST, SPI_BANK(0x0100, 1), SPI_WORDS(1), 4, false },	/* ISENABLER */
	{ false, VMM_GIC_LEVELS, GIC_FIRST_SPI, SPI_WORDS(1), 32, false },
	{ false, VMM_GIC_DIST, SPI_BANK(0x0200, 1), SPI_WORDS(1), 4, false },	/* ISPENDR */
	{ false, VMM_GIC_DIST, SPI_BANK(0x0300, 1), SPI_WORDS(1), 4, false },	/* ISACTIVER */
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0x080, PPI_WORDS(1), 4, false },	/* IGROUPR0 */
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0xc00, PPI_WORDS(2), 4, false },	/* ICFGR0, 1 */
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0x400, PPI_WORDS(8), 4, false },	/* IPRIORITYR */
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0x100, PPI_WORDS(1), 4, false },	/* ISENABLER0 */
	{ true, VMM_GIC_LEVELS, 0, PPI_WORDS(1), 32, false },
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0x200, PPI_WORDS(1), 4, false },	/* ISPENDR0 */
	{ true, VMM_GIC_REDIST, SGI_PAGE + 0x300, PPI_WORDS(1), 4, false },	/* ISACTIVER0 */
	{ true, VMM_GIC_SYSREGS, ICC(12, 12, 5), 1, 1, false },			/* SRE */
	{ true, VMM_GIC_SYSREGS, ICC(12, 12, 4), 1, 1, false },			/* CTLR */
	{ true, VMM_GIC_SYSREGS, ICC(4, 6, 0), 1, 1, false },			/* PMR */
	{ true, VMM_GIC_SYSREGS, ICC(12, 8, 3), 1, 1, false },			/* BPR0 */
	{ true, VMM_GIC_SYSREGS, ICC(12, 12, 3), 1, 1, false },			/* BPR1 */
	{ true, VMM_GIC_SYSREGS, ICC(12, 12, 6), 2, 1, false },			/* IGRPEN0, 1 */
	{ true, VMM_GIC_SYSREGS, ICC(12, 8, 4), 4, 1, true },			/* AP0R0 to 3 */
	{ true, VMM_GIC_SYSREGS, ICC(12, 9, 0), 4, 1, true },			/* AP1R0 to 3 */
};

size_t vmm_reg_size(uint64_t id)
{
	const unsigned int bits = id >> SIZE_SHIFT & SIZE_BITS;

	return bits > SIZE_BITS_MAX ? 0 : (size_t)1 << bits;
}

static int bad(const char *section, size_t pos)
{
	return apf_error_set(-EINVAL, "snapshot: section %s: malformed at its byte %zu", section, pos);
}

int vmm_regs_next(const struct vmm_bytes *b, size_t *pos, struct vmm_reg *out)
{
	const size_t left = b->len - *pos;
	size_t padded;

	if (!left)
		return 0;
	if (left < sizeof(out->id))
		return bad("one_regs", *pos);
	memcpy(&out->id, b->data + *pos, sizeof(out->id));
	out->size = vmm_reg_size(out->id);
	out->value = b->data + *pos + sizeof(out->id);
	padded = (out->size + 7) & ~7ull;
	if (!out->size || padded > left - sizeof(out->id))
		return bad("one_regs", *pos);
	*pos += sizeof(out->id) + padded;
	return 1;
}

static bool is_known(const struct vmm_gic_reg *r, bool of_vcpu)
{
	for (size_t i = 0; i < VMM_GIC_RANGES; i++) {
		const struct vmm_gic_range *g = &vmm_gic_ranges[i];
		const uint32_t behind = r->reg - g->first;

		if (g->of_vcpu == of_vcpu && g->group == r->group && behind % g->step == 0 &&
		    behind / g->step < g->count)
			return true;
	}
	return false;
}

int vmm_gic_next(const struct vmm_bytes *b, size_t *pos, bool of_vcpu, struct vmm_gic_reg *out)
{
	const size_t left = b->len - *pos;

	if (!left)
		return 0;
	if (left < sizeof(*out))
		return bad(of_vcpu ? "gic_vcpu" : "gic", *pos);
	memcpy(out, b->data + *pos, sizeof(*out));
	if (!is_known(out, of_vcpu))
		return bad(of_vcpu ? "gic_vcpu" : "gic", *pos);
	*pos += sizeof(*out);
	return 1;
}
