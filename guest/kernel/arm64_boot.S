/* SPDX-License-Identifier: MIT */
/*
 * From the loader (Linux's boot protocol for arm64: x0 = device tree, MMU off, EL1), and from a
 * started processor, to C with the first 4 GiB identity-mapped: 1 GiB of devices, then memory.
 */
#include "arm64_layout.h"

#define IMAGE_FLAGS	0xa	/* little-endian, 4 KiB pages, anywhere in memory */
#define BIG_PAGE_SHIFT	21
#define DEVICES_END	0x40000000

#define MAIR		0xff00	/* 0: device, nGnRnE; 1: normal, write-back */
#define TCR		0x00803510	/* TTBR0 only: 48 bits, 4 KiB, cached, inner shareable */
#define SCTLR		0x30d5181d	/* RES1, MMU, caches, stack alignment; EL0 may wait */

#define TABLE		0x3
#define BIG_DEVICE	0x0060000000000401
#define BIG_MEMORY	0x0040000000000705
#define KERNEL_PAGE	0x0040000000000707
#define USER_IMAGE_PAGE	0x0020000000000747

	.section .head, "ax"
	.globl image
image:
	b start
	.long 0
	.quad 0			/* from a multiple of 2 MiB */
	.long image_size, 0
	.quad IMAGE_FLAGS
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

	.text
start:
	mov x21, x0
	bl fill_tables
	bl enable_mmu
	bl relocate
	bl clear_bss
	adrp x0, boot_stack + KSTACK_SIZE
	sub sp, x0, #16		/* not at its end: a task is found from the pointer */
	mov x0, x21
	bl kernel_main

/* Entered by PSCI with the end of its stack. */
	.globl secondary_start
secondary_start:
	mov x21, x0
	bl enable_mmu
	sub sp, x21, #16
	bl smp_main

/* The caches are off: lines that were there are stale once the tables are written. */
fill_tables:
	adrp x0, root_table
	adrp x1, boot_second
	add x2, x1, #TABLE
	str x2, [x0]
	adrp x3, boot_third
	mov x4, #4
	add x2, x3, #TABLE
1:	str x2, [x1], #8
	add x2, x2, #PAGE_SIZE
	subs x4, x4, #1
	b.ne 1b

	ldr x5, =BIG_DEVICE
	ldr x6, =BIG_MEMORY
	mov x2, #0
	mov x7, #DEVICES_END
2:	cmp x2, x7
	csel x8, x5, x6, lo
	orr x8, x8, x2
	str x8, [x3], #8
	add x2, x2, #(1 << BIG_PAGE_SHIFT)
	tbz x2, #32, 2b

	adrp x2, image
	adrp x3, boot_third
	adrp x4, boot_last
	lsr x5, x2, #BIG_PAGE_SHIFT
	add x6, x4, #TABLE
	str x6, [x3, x5, lsl #3]
	ldr x5, =KERNEL_PAGE
	ldr x6, =USER_IMAGE_PAGE
	adrp x7, user_start
	adrp x8, user_end
	mov x9, #512
3:	cmp x2, x7
	ccmp x2, x8, #2, hs	/* else as if higher or the same */
	csel x10, x6, x5, lo
	orr x10, x10, x2
	str x10, [x4], #8
	add x2, x2, #PAGE_SIZE
	subs x9, x9, #1
	b.ne 3b

	dmb sy
	adrp x0, root_table
	adrp x1, boot_tables_end
	mrs x2, ctr_el0
	ubfx x2, x2, #16, #4
	mov x3, #4
	lsl x3, x3, x2
4:	dc ivac, x0
	add x0, x0, x3
	cmp x0, x1
	b.lo 4b
	dsb sy
	ret

enable_mmu:
	ldr x0, =MAIR
	msr mair_el1, x0
	ldr x0, =TCR
	msr tcr_el1, x0
	adrp x0, root_table
	msr ttbr0_el1, x0
	isb
	tlbi vmalle1
	ic iallu
	dsb nsh
	isb
	ldr x0, =SCTLR
	msr sctlr_el1, x0
	isb
	ret

/* All relocations are relative: the image's address is added. */
relocate:
	adrp x2, image
	adrp x0, rela_start
	add x0, x0, :lo12:rela_start
	adrp x1, rela_end
	add x1, x1, :lo12:rela_end
1:	cmp x0, x1
	b.hs 2f
	ldr x3, [x0], #16
	ldr x4, [x0], #8
	add x4, x4, x2
	str x4, [x3, x2]
	b 1b
2:	ret

clear_bss:
	adrp x0, bss_start
	adrp x1, kernel_end
1:	stp xzr, xzr, [x0], #16
	cmp x0, x1
	b.lo 1b
	ret

	.ltorg

	.section .tables, "aw", %nobits
	.balign PAGE_SIZE
	.globl root_table
root_table:
	.skip PAGE_SIZE
boot_second:
	.skip PAGE_SIZE
boot_third:
	.skip 4 * PAGE_SIZE
boot_last:
	.skip PAGE_SIZE
boot_tables_end:

	.bss
	.balign KSTACK_SIZE
boot_stack:
	.skip KSTACK_SIZE

	.section .note.GNU-stack, "", %progbits
