/* SPDX-License-Identifier: MIT */
/*
 * What an arm64 guest and its host agree on: numbers and layouts, nothing else.
 * Self-contained and free-standing, so that guest kernels can include it too.
 * docs/abi-arm64.md is the specification; rows of docs/protocol.md are named here.
 */
#ifndef APF_ABI_ARM64_H
#define APF_ABI_ARM64_H

#include <stdint.h>

/*
 * The vendor-hypervisor features call answers four words of bits; this one is bit 96,
 * bit 0 of the fourth word (A1). The call itself is a fast SMC32 call, by HVC.
 */
#define APF_ARM64_FN_FEATURES	0x86000000u
#define APF_ARM64_FEATURE_BIT	96u
#define APF_ARM64_FN_APF	0x86000060u

/*
 * The first argument, low half in w1 and high half in w2 (A1): an operation, a
 * guest-physical address, flags (A2). The upper halves of x1 to x6 must be 0, and so must
 * be what an operation does not use of the lower ones (A13).
 */
#define APF_ARM64_OP_SHIFT	56
#define APF_ARM64_ADDR_MASK	0x00ffffffffffffc0ull
#define APF_ARM64_FLAGS_MASK	0x3full

/* Operations (A10, A13). Those of the 2020 patch are the single bits 63 and 62. */
#define APF_ARM64_OP_INFO	0x01u	/* what the host offers; address and flags 0 */
#define APF_ARM64_OP_ACK	0x02u	/* second revision: a ready is dealt with, its word 0 (A16) */
#define APF_ARM64_OP_REGION	0x40u	/* no-fault regions; w3:w4 start, w5:w6 size */
#define APF_ARM64_OP_ENABLE	0x80u	/* enable or disable, with the area's address */

/* Flags of OP_ENABLE. */
#define APF_ARM64_ENABLED	(1ull << 0)
#define APF_ARM64_SEND_ALWAYS	(1ull << 1)	/* NP at EL1 too; needs a region or the busy word */
#define APF_ARM64_INT		(1ull << 2)	/* second revision: ready as an interrupt (A16) */
#define APF_ARM64_BUSY		(1ull << 3)	/* the guest keeps the busy word (A11) */
#define APF_ARM64_ENABLE_FLAGS	0x0full		/* the others are reserved */

/* Flags of OP_REGION; the address bits are 0. */
#define APF_ARM64_REGION_CLEAR	(1ull << 0)	/* forget all; start and size are 0 */
#define APF_ARM64_REGIONS	4u		/* at most so many: they are looked at on every fault */

/* Results in w0 (A3): SMCCC's own numbers, sign-extended. */
#define APF_ARM64_SUCCESS		0
#define APF_ARM64_NOT_SUPPORTED		(-1)
#define APF_ARM64_NOT_REQUIRED		(-2)
#define APF_ARM64_INVALID_PARAMETER	(-3)

/* Results of OP_INFO: w1 version (major << 16 | minor), w2 offers, w3 INTID of the ready PPI. */
#define APF_ARM64_VERSION	0x10000u
#define APF_ARM64_OFFERS_ABORT	(1u << 0)	/* the first revision */
#define APF_ARM64_OFFERS_INT	(1u << 1)	/* the second revision */

/* Values of the reason word. */
#define APF_ARM64_REASON_NONE	0u
#define APF_ARM64_REASON_NP	1u	/* page not present */
#define APF_ARM64_REASON_READY	2u	/* page ready; first revision only */

/* The token that wakes every waiter of the vCPU (C6). */
#ifndef APF_TOKEN_BROADCAST
#define APF_TOKEN_BROADCAST	0xffffffffu
#endif

/*
 * A notification's own fault status (A12): IMPLEMENTATION DEFINED (lockdown), which no
 * hardware that runs Linux reports. Class 0x24 from EL0, 0x25 from EL1; IL is set.
 */
#define APF_ARM64_DFSC		0x34u
#define APF_ARM64_ESR_EL0	0x92000034u
#define APF_ARM64_ESR_EL1	0x96000034u

/*
 * The area, 64-byte aligned guest memory, one per vCPU (A17). The pad keeps the
 * guest's own word out of the host's cache line.
 */
struct apf_area_arm64 {
	uint32_t reason;	/* the host writes it at NP (and ready, first revision); the guest clears it */
	uint32_t token;		/* second revision: the host writes it at ready, the guest clears it */
	uint32_t busy;		/* the guest's: not 0 while it cannot take an abort (A11) */
	uint8_t pad[52];
	uint32_t enabled;	/* the guest's own */
};

#define APF_ARM64_AREA_REASON	0u
#define APF_ARM64_AREA_TOKEN	4u
#define APF_ARM64_AREA_BUSY	8u
#define APF_ARM64_AREA_SIZE	64u	/* what the host may touch */

#endif
