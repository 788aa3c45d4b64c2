/* SPDX-License-Identifier: MIT */
/*
 * The file DIR/state of a snapshot: sections with checksums. Parsing is a pure
 * function over bytes, which may be hostile. The layout is written down in
 * docs/man/apf-snapshot.1; all numbers are little-endian:
 *
 *   header, 32 bytes:  "APFSNAP\0", u32 version, u32 machine (ELF number: 62 = x86-64,
 *                      183 = arm64), u32 sections, u32 zero, u32 zero, u32 crc of the 28 bytes before
 *   each section:      u32 kind, u32 index, u64 length, u32 zero, u32 zero, u32 zero,
 *                      u32 crc of the 28 bytes before and the payload;
 *                      payload; zero bytes up to a multiple of 8
 *
 * crc is CRC-32C. index is the vCPU, the interrupt chip, or 0. What a payload is:
 * the struct that KVM's ioctl of that name takes, unless said otherwise below.
 *
 * Files of either machine are parsed on either machine; see vmm_can_load.
 */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMM_SNAPSHOT_VERSION	3u
#define VMM_MAX_VCPUS		254u	/* of any machine */

enum vmm_snapshot_machine {
	VMM_X86 = 62,
	VMM_ARM64 = 183,
};

enum vmm_section {
	VMM_SEC_VM,		/* both machines: struct vmm_snapshot_vm */
	VMM_SEC_CLOCK,
	VMM_SEC_IRQCHIP,	/* index: KVM_IRQCHIP_* */
	VMM_SEC_PIT,
	VMM_SEC_SERIAL,		/* both: struct vmm_serial_regs, then the line begun but not ended */
	VMM_SEC_CPUID,		/* from here on one per vCPU; struct kvm_cpuid2 with its entries */
	VMM_SEC_REGS,
	VMM_SEC_SREGS,
	VMM_SEC_XSAVE,
	VMM_SEC_XCRS,
	VMM_SEC_DEBUGREGS,
	VMM_SEC_LAPIC,
	VMM_SEC_MSRS,		/* struct kvm_msrs with its entries */
	VMM_SEC_EVENTS,		/* both */
	VMM_SEC_MP_STATE,	/* both */
	VMM_SEC_TSC_KHZ,	/* u32 */
	VMM_SEC_APF,		/* both: bytes of apf_kvm_vcpu_save */
	VMM_SEC_ONE_REGS,	/* arm64: registers; see regs_arm64.h */
	VMM_SEC_GIC_VCPU,	/* arm64: a vCPU's part of the interrupt controller, as struct vmm_gic_reg */
	VMM_SEC_GIC,		/* arm64, one: the rest of it, the same */
	VMM_SEC_RAM_SUMS,	/* both: u32 CRC-32C of each page of RAM; see sums.h */
	VMM_SEC_COUNT
};

/* Bytes of KVM's structs; those of x86 are not in arm64's headers. */
#define VMM_SIZE_CLOCK		48u
#define VMM_SIZE_IRQCHIP	520u
#define VMM_SIZE_PIT		112u
#define VMM_SIZE_CPUID_MIN	8u
#define VMM_SIZE_REGS		144u
#define VMM_SIZE_SREGS		312u
#define VMM_SIZE_XSAVE		4096u
#define VMM_SIZE_XCRS		392u
#define VMM_SIZE_DEBUGREGS	128u
#define VMM_SIZE_LAPIC		1024u
#define VMM_SIZE_MSRS_MIN	8u
#define VMM_SIZE_EVENTS		64u
#define VMM_SIZE_MP_STATE	4u

struct vmm_snapshot_vm {
	uint64_t mem_size;
	uint32_t cpus;
	uint32_t delivery;	/* enum apf_delivery it ran with */
	uint32_t abi;		/* enum apf_abi_id it offered */
	uint32_t zero;
};

struct vmm_bytes {
	const uint8_t *data;	/* NULL: not in the file */
	size_t len;
};

/* A parsed file; points into the bytes it was parsed from. */
struct vmm_snapshot {
	enum vmm_snapshot_machine machine;
	struct vmm_snapshot_vm vm;
	struct vmm_bytes sec[VMM_SEC_COUNT][VMM_MAX_VCPUS];
};

/*
 * Check and index the bytes of DIR/state. Everything that must be there is there
 * and has a possible length on success, and nothing of another machine; what is inside
 * a section is for its reader to judge. 0; -EINVAL and an apf_error that names the section
 * and the offset. Pure.
 */
int vmm_snapshot_parse(const void *bytes, size_t len, struct vmm_snapshot *out);

/* "lapic", ... */
const char *vmm_section_name(enum vmm_section kind);
/* "x86-64", "arm64" */
const char *vmm_snapshot_machine_name(enum vmm_snapshot_machine machine);
/* Is this (enum apf_abi_id) a generation for guests of that machine? */
bool vmm_snapshot_machine_has_abi(enum vmm_snapshot_machine machine, uint32_t abi);

/* Grows as sections are added; zero all but the machine first, free data in the end. */
struct vmm_snapshot_writer {
	enum vmm_snapshot_machine machine;
	uint8_t *data;
	size_t len, room;
	uint32_t sections;
	int err;		/* the first -ENOMEM, with an apf_error; later calls do nothing */
};

/*
 * Add a section; a NULL payload adds len zero bytes. Returns where it lies until the
 * next call, or NULL.
 */
void *vmm_snapshot_add(struct vmm_snapshot_writer *w, enum vmm_section kind, uint32_t index,
		       const void *payload, size_t len);
/* Fill in the checksums. 0 or the writer's error. */
int vmm_snapshot_finish(struct vmm_snapshot_writer *w);

/* With checksums for 1 TiB of RAM. */
#define VMM_RAM_SUMS_MAX	(1u << 30)
#define VMM_SNAPSHOT_BYTES_MAX	(VMM_RAM_SUMS_MAX + (256u << 20))

#endif
