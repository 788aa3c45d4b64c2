/* SPDX-License-Identifier: MIT */
/* Numbers that x86's assembler and C share. */
#ifndef KERNEL_X86_LAYOUT_H
#define KERNEL_X86_LAYOUT_H

#include "layout.h"

#define TRAMPOLINE	0x8000	/* below 1 MiB, page-aligned */

/* While starting. */
#define SEL_BOOT_CODE32	0x08
#define SEL_BOOT_DATA	0x10
#define SEL_BOOT_CODE64	0x18

/* Each processor's own table. */
#define SEL_KCODE	0x08
#define SEL_KDATA	0x10
#define SEL_UDATA	0x1b
#define SEL_UCODE	0x23
#define SEL_TSS		0x28

#endif
