/* SPDX-License-Identifier: MIT */
/* Numbers that assembler and C share. */
#ifndef KERNEL_LAYOUT_H
#define KERNEL_LAYOUT_H

#define PAGE_SIZE	4096
#define KSTACK_SIZE	8192	/* and their alignment: a task is found from its stack pointer */
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

/*
 * System calls are breakpoints: of all ways into the kernel that ring 3 has, this one also works on
 * hosts that run ring 3 natively and emulate the rest.
 */
#define VECTOR_SYSCALL	3

#endif
