/* SPDX-License-Identifier: MIT */
/*
 * What an x86 guest and its host agree on: numbers and layouts, nothing else.
 * Self-contained and free-standing, so that guest kernels can include it too.
 * Rows of docs/protocol.md are named beside each item.
 */
#ifndef APF_ABI_X86_H
#define APF_ABI_X86_H

#include <stdint.h>

/* The model-specific registers a guest drives APF with. */
#define APF_MSR_EN	0x4b564d02u	/* L1, N2: enable, flags, address of the area */
#define APF_MSR_INT	0x4b564d06u	/* N1: vector of the ready interrupt (2020-RFC: PF2) */
#define APF_MSR_ACK	0x4b564d07u	/* N4: "token word is 0 again, look for more" */

/* Bits of APF_MSR_EN. */
#define APF_EN_ENABLED		(1ull << 0)
#define APF_EN_SEND_ALWAYS	(1ull << 1)	/* also in kernel mode */
#define APF_EN_VMEXIT		(1ull << 2)	/* as #PF VM exit to L1; never offered */
#define APF_EN_INT		(1ull << 3)	/* ready comes as an interrupt */
#define APF_EN_RESERVED		(3ull << 4)
#define APF_EN_ADDR_MASK	(~0x3full)

/* Bits of APF_MSR_INT and APF_MSR_ACK. */
#define APF_INT_VECTOR_MASK	0xffull
#define APF_PF2_ENABLED		(1ull << 8)	/* 2020-RFC only (I2) */
#define APF_ACK_LOOK		(1ull << 0)

/* CPUID leaf 0x40000001, EAX (N5). */
#define APF_CPUID_LEAF		0x40000001u
#define APF_CPUID_ASYNC_PF	(1u << 4)
#define APF_CPUID_VMEXIT	(1u << 10)
#define APF_CPUID_INT		(1u << 14)

/* Values of the reason word (L2). */
#define APF_REASON_NONE		0u
#define APF_REASON_NP		1u	/* page not present */
#define APF_REASON_READY	2u	/* page ready; 2010 and 2020-RFC only */

/* The token that wakes every waiter of the vCPU (C6). */
#define APF_TOKEN_BROADCAST	0xffffffffu

/*
 * The area, 64-byte aligned guest memory, one per vCPU (L2). The offsets are
 * ABI: the pad keeps the guest's own word out of the host's cache line.
 */
struct apf_area_x86 {
	uint32_t reason;	/* the host writes it at NP, the guest clears it */
	uint32_t token;		/* the host writes it at ready, the guest clears it */
	uint8_t pad[56];
	uint32_t enabled;	/* the guest's own */
};

#define APF_AREA_REASON		0u
#define APF_AREA_TOKEN		4u
#define APF_AREA_SIZE		64u	/* what the host may touch */

#endif
