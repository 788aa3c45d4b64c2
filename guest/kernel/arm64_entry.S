/* SPDX-License-Identifier: MIT */
/* Ways in and out of the kernel, and from one task to another. */
#include "arm64_layout.h"

	.macro vector number
	.balign 128
	sub sp, sp, #FRAME_SIZE
	stp x0, x1, [sp]
	mov x1, #\number
	b trap_common
	.endm

	.text
	.balign 2048
	.globl vectors
vectors:
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vector \number
	.endr

	.balign 128
trap_common:
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, x29, [sp, #224]
	mrs x2, sp_el0
	stp x30, x2, [sp, #240]
	mrs x2, elr_el1
	mrs x3, spsr_el1
	stp x2, x3, [sp, #FRAME_ELR]
	mrs x2, esr_el1
	mrs x3, far_el1
	stp x2, x3, [sp, #FRAME_ESR]
	mov x0, sp
	bl trap
	ldp x2, x3, [sp, #FRAME_ELR]
	msr elr_el1, x2
	msr spsr_el1, x3
	ldp x30, x2, [sp, #240]
	msr sp_el0, x2
	ldp x0, x1, [sp]
	ldp x2, x3, [sp, #16]
	ldp x4, x5, [sp, #32]
	ldp x6, x7, [sp, #48]
	ldp x8, x9, [sp, #64]
	ldp x10, x11, [sp, #80]
	ldp x12, x13, [sp, #96]
	ldp x14, x15, [sp, #112]
	ldp x16, x17, [sp, #128]
	ldp x18, x19, [sp, #144]
	ldp x20, x21, [sp, #160]
	ldp x22, x23, [sp, #176]
	ldp x24, x25, [sp, #192]
	ldp x26, x27, [sp, #208]
	ldp x28, x29, [sp, #224]
	add sp, sp, #FRAME_SIZE
	eret

/* void context_switch(uint64_t *save_sp, uint64_t sp) */
	.globl context_switch
context_switch:
	sub sp, sp, #96
	stp x19, x20, [sp]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	mov x2, sp
	str x2, [x0]
	mov sp, x1
	ldp x19, x20, [sp]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	add sp, sp, #96
	ret

/* Where a new task's first switch returns to. */
	.globl task_start
task_start:
	bl task_begin
	brk #0

/* void enter_user(uintptr_t entry, uintptr_t sp, uintptr_t argument), with interrupts on there */
	.globl enter_user
enter_user:
	msr daifset, #2
	msr elr_el1, x0
	msr sp_el0, x1
	msr spsr_el1, xzr
	mov x0, sp		/* all of the kernel stack is for traps */
	orr x0, x0, #(KSTACK_SIZE - 1)
	add x0, x0, #1
	mov sp, x0
	mov x0, x2
	mov x1, #0
	mov x29, #0
	mov x30, #0
	eret

/*
 * void irq_on_and_halt(void): one that comes between the two instructions would not end the
 * halt, so that trap() goes on behind halt_site when it finds itself there. Interrupts are on
 * while the processor waits, since the first revision's ready needs it (A6).
 */
	.globl irq_on_and_halt, halt_site
irq_on_and_halt:
	msr daifclr, #2
halt_site:
	wfi
	ret

/* uint64_t touch_irqs_on(const uint64_t *word) */
	.globl touch_irqs_on, touch_site
touch_irqs_on:
	msr daifclr, #2
	isb
touch_site:
	ldr x0, [x0]
	msr daifset, #2
	ret

/* uint64_t touch_in_region(const uint64_t *word): the same, where no abort is taken (A10) */
	.globl touch_in_region, region_start, region_end
region_start:
touch_in_region:
	msr daifclr, #2
	isb
	ldr x0, [x0]
	msr daifset, #2
	ret
region_end:

/* void hypervisor_call(const uint64_t x[7], uint64_t r[4]); it may change x4 to x17 */
	.globl hypervisor_call
hypervisor_call:
	str x1, [sp, #-16]!
	mov x8, x0
	ldp x0, x1, [x8]
	ldp x2, x3, [x8, #16]
	ldp x4, x5, [x8, #32]
	ldr x6, [x8, #48]
	hvc #0
	ldr x8, [sp], #16
	stp x0, x1, [x8]
	stp x2, x3, [x8, #16]
	ret

/* void *memset(void *to, int byte, size_t size) */
	.globl memset
memset:
	mov x3, x0
	cbz x2, 2f
1:	strb w1, [x3], #1
	subs x2, x2, #1
	b.ne 1b
2:	ret

/* void *memcpy(void *to, const void *from, size_t size) */
	.globl memcpy
memcpy:
	mov x3, x0
	cbz x2, 2f
1:	ldrb w4, [x1], #1
	strb w4, [x3], #1
	subs x2, x2, #1
	b.ne 1b
2:	ret

	.section .note.GNU-stack, "", %progbits
