/* SPDX-License-Identifier: MIT */
/* Where things are in the x86 machine; shared by its ACPI tables, loaders and devices. */
#ifndef VMM_MACHINE_X86_H
#define VMM_MACHINE_X86_H

#include <elf.h>

#include "image.h"
#include "ram.h"

/* Devices and KVM's own pages live between the two parts. */
#define RAM_LOW_MAX		(3ull << 30)
#define RAM_HIGH_START		(4ull << 30)

static const struct vmm_ram_layout vmm_ram_x86 = { 0, RAM_LOW_MAX, RAM_HIGH_START };

/* I/O ports. The first three are the hardware-reduced ACPI registers. */
#define PORT_SLEEP_CONTROL	0x600u
#define PORT_SLEEP_STATUS	0x601u
#define PORT_RESET		0x602u
#define PORT_KEYBOARD		0x64u	/* write 0xfe: the oldest way to reset a PC */
#define PORT_DEBUG_EXIT		0xf4u	/* where QEMU's isa-debug-exit usually is: any write ends the VM */
#define PORTS_DEBUG_EXIT	4u

#define PORT_SERIAL		0x3f8u
#define PORTS_SERIAL		8u
#define IRQ_SERIAL		4u

#define SLEEP_TYPE_S5		5u	/* what \_S5 in the DSDT says */
#define SLEEP_ENABLE		0x20u
#define SLEEP_TYPE(value)	((value) >> 2 & 7u)
#define RESET_VALUE		1u
#define KEYBOARD_RESET		0xfeu

/* Guest-physical addresses. */
#define GPA_GDT			0x500ull
#define GPA_BOOT_PARAMS		0x7000ull
#define GPA_STACK_TOP		0x8ff0ull
#define GPA_PAGE_TABLES		0x9000ull	/* 6 pages: identity map of 4 GiB */
#define GPA_MULTIBOOT		0x10000ull	/* information, command line, texts; up to GPA_EBDA */
#define GPA_CMDLINE		0x20000ull
#define CMDLINE_MAX		0x10000ull
#define GPA_EBDA		0x9fc00ull	/* end of conventional memory */
#define GPA_ACPI		0xe0000ull
#define GPA_RESET_VECTOR	0xffff0ull	/* where a PC has its BIOS's entry */
#define GPA_ACPI_END		0x100000ull	/* also where ordinary memory starts */
#define GPA_KERNEL_MIN		0x100000ull
#define GPA_KVM_IDENTITY	0xfffbc000ull	/* KVM's own, for processors that need it */
#define GPA_KVM_TSS		0xfffbd000ull
#define GPA_LAPIC		0xfee00000u
#define GPA_IOAPIC		0xfec00000u

/* The VMM's own data is below. */
static const struct vmm_image_rules vmm_image_rules_x86 = { EM_386, EM_X86_64, GPA_KERNEL_MIN };

#define SELECTOR_CODE		0x10u		/* the boot protocol's __BOOT_CS and __BOOT_DS */
#define SELECTOR_DATA		0x18u
#define SELECTOR_CODE_32	0x08u		/* multiboot's */
#define SELECTOR_DATA_32	0x10u

#endif
