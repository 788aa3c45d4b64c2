/* SPDX-License-Identifier: MIT */
/* Where things are in the arm64 machine; shared by its device tree, loader and devices. */
#ifndef VMM_MACHINE_ARM64_H
#define VMM_MACHINE_ARM64_H

#include <elf.h>

#include "image.h"
#include "ram.h"

/* Guest-physical addresses. Every vCPU has a redistributor of its own, one after another. */
#define GPA_GIC			0x08000000ull
#define GIC_SIZE		0x10000ull
#define GPA_REDIST		0x080a0000ull
#define REDIST_SIZE		0x20000ull
#define GPA_SERIAL		0x09000000ull
#define GPA_DEBUG_EXIT		0x09010000ull	/* a 32-bit register: any write ends the VM */
#define DEVICE_SIZE		0x1000ull	/* of each of these two */
#define GPA_RAM			0x40000000ull

#define ARM64_CPUS_MAX		((unsigned int)((GPA_SERIAL - GPA_REDIST) / REDIST_SIZE))

#define SERIAL_REGS		8u		/* of one byte each */
#define SERIAL_CLOCK		1843200u
#define SERIAL_SPI		1u
#define GIC_FIRST_SPI		32u
#define GIC_IRQS		64u		/* all interrupts; KVM has no fewer */

static const struct vmm_ram_layout vmm_ram_arm64 = { .start = GPA_RAM, .low_max = UINT64_MAX };
static const struct vmm_image_rules vmm_image_rules_arm64 = { EM_NONE, EM_AARCH64, GPA_RAM };

/* The affinity that KVM gives a vCPU, as it is in MPIDR_EL1. */
static inline uint64_t vmm_arm64_affinity(unsigned int cpu)
{
	return (cpu & 15) | (cpu >> 4 & 0xff) << 8;
}

#endif
