/* SPDX-License-Identifier: MIT */
/*
 * The guest of the binding's tests on arm64: copied to CODE, starts at EL1 with the
 * MMU off and the table of tiny_vm_arm64.c. Numbers are tiny_vm.h's.
 * In: x0 = scenario, x1 = first address, x2 = how many pages, x3 = their size,
 * x4 = flags of OP_ENABLE and tiny_vm.h's WITH_REGIONS.
 */
#define RAM		0x40000000
#define TABLE		(RAM + 0x1000)
#define STACK_TOP	(RAM + 0x28000)
#define AREA		(RAM + 0x30000)
#define WOKEN		(RAM + 0x31000)
#define SECOND_LIFE	(RAM + 0x32000)	/* what vCPU 1 gets in x0 to x4 when it is switched on */
#define USER		0x40000000	/* user mode sees RAM so much higher */
#define DEVICES		0x09000000
#define GIC_DIST	0x08000000
#define GIC_REDIST	0x080a0000

#define EV_NP		0x500
#define EV_READY	0x504
#define EV_VALUE	0x508
#define EV_END		0x50c
#define EV_TICK		0x510
#define EV_FAULT	0x514
#define EV_RESULT	0x518

#define FN_FEATURES	0x86000000
#define FN_APF		0x86000060
#define FN_CPU_OFF	0x84000002
#define FN_CPU_ON	0xc4000003
#define FN_AFFINITY	0xc4000004	/* 1: it is off */
/* The operation is the uppermost byte of the argument's high half. */
#define OP_INFO		0x01000000
#define OP_ACK		0x02000000
#define OP_UNKNOWN	0x03000000
#define OP_REGION	0x40000000
#define OP_ENABLE	0x80000000
#define FLAG_INT	2		/* bits of x25 */
#define WITH_REGIONS	16

#define READY_PPI	22
#define TIMER_PPI	27
#define ICC_IAR1	S3_0_C12_C12_0
#define ICC_EOIR1	S3_0_C12_C12_1
#define ICC_SRE		S3_0_C12_C12_5
#define ICC_IGRPEN1	S3_0_C12_C12_7
#define ICC_PMR		S3_0_C4_C6_0
#define FRAME		80

/*
 * Kept: x20 = DEVICES, x21 = scenario, x22 = address, x23 = pages left, x24 = page,
 * x25 = flags, x26 = number of the CPU.
 */

	.section .rodata
	.globl guest_start, guest_end
	.balign 2048
guest_start:
	b	entry

	.macro tell what, reg
	str	\reg, [x20, #\what]
	.endm

/* This CPU's area, and its word that says which token has been woken. */
	.macro own reg, what
	ldr	\reg, =\what
	add	\reg, \reg, x26, lsl #6
	.endm

/* Call the host: operation, and low half of the argument in w1. Clobbers x0 to x6. */
	.macro apf_call op
	ldr	w0, =FN_APF
	ldr	w2, =\op
	mov	x3, xzr
	mov	x4, xzr
	mov	x5, xzr
	mov	x6, xzr
	hvc	#0
	.endm

	.macro push_frame
	sub	sp, sp, #FRAME
	stp	x0, x1, [sp]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	mrs	x0, elr_el1
	mrs	x1, spsr_el1
	stp	x0, x1, [sp, #64]
	.endm

	.macro vector to
	.balign 128
	b	\to
	.endm

	.balign 2048
vectors:
	.irp	to, other, other, other, other, sync, irq, other, other
	vector	\to
	.endr
	.irp	to, sync, irq, other, other, sync, irq, other, other
	vector	\to
	.endr

entry:
	mov	x21, x0
	mov	x22, x1
	mov	x23, x2
	mov	x24, x3
	mov	x25, x4
	mrs	x26, mpidr_el1
	and	x26, x26, #0xff
	ldr	x20, =DEVICES
	ldr	x0, =TABLE
	msr	ttbr0_el1, x0
	ldr	x0, =0xff00		/* 0 device, 1 write-back */
	msr	mair_el1, x0
	ldr	x0, =(25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32)
	msr	tcr_el1, x0		/* 39 bits, 4 KiB, lower half only */
	isb
	mrs	x0, sctlr_el1
	ldr	x1, =(1 << 0 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26)
	orr	x0, x0, x1		/* MMU, caches; user mode may do what it likes */
	msr	sctlr_el1, x0
	isb
	adr	x0, vectors
	msr	vbar_el1, x0
	ldr	x0, =STACK_TOP
	sub	x0, x0, x26, lsl #12
	mov	sp, x0
	/* the GIC: the two interrupts, group 1 */
	ldr	x0, =GIC_DIST
	mov	w1, #0x12
	str	w1, [x0]
	ldr	x0, =GIC_REDIST
	add	x0, x0, x26, lsl #17
	str	wzr, [x0, #0x14]
	add	x0, x0, #0x10000
	mov	w1, #-1
	str	w1, [x0, #0x80]
	ldr	w1, =(1 << READY_PPI | 1 << TIMER_PPI)
	str	w1, [x0, #0x100]
	mov	x0, #7
	msr	ICC_SRE, x0
	isb
	mov	x0, #0xf0
	msr	ICC_PMR, x0
	mov	x0, #1
	msr	ICC_IGRPEN1, x0
	isb

	tbz	x25, #WITH_REGIONS, enable
	adr	x3, guest_start		/* all but the wait */
	adr	x7, wait
	sub	x5, x7, x3
	bl	region
	adr	x3, wait_end
	adr	x7, guest_end
	sub	x5, x7, x3
	bl	region
enable:
	own	x1, AREA
	and	x0, x25, #0x3f
	orr	x1, x1, x0
	apf_call OP_ENABLE
	tell	EV_RESULT, w0
	cmp	x21, #1
	b.eq	kernel_reads
	cmp	x21, #2
	b.eq	reads
	cmp	x21, #4
	b.eq	bad_control
	cmp	x21, #10
	b.eq	cpu_on
	adr	x0, user
	mov	x1, #0
	cmp	x21, #8
	b.ne	1f
	adr	x0, user32
	mov	x1, #0x10
	mov	w2, w23
	mov	w3, w24
	mov	w7, w20
1:	ldr	x4, =USER
	add	x0, x0, x4
	msr	elr_el1, x0
	msr	spsr_el1, x1
	mov	w1, w22
	eret

region:					/* x3 start, x5 size */
	ldr	w0, =FN_APF
	mov	x1, xzr
	ldr	w2, =OP_REGION
	mov	x4, xzr
	mov	x6, xzr
	hvc	#0
	tell	EV_RESULT, w0
	ret

user:
	cmp	x21, #7
	b.eq	writes
reads:
	ldr	w0, [x22]		/* the access that traps */
	tell	EV_VALUE, w0
	add	x22, x22, x24
	subs	x23, x23, #1
	b.ne	reads
end:
	tell	EV_END, w0
	b	end

writes:					/* the write traps, and the rest of the page is there */
	str	w23, [x22]
	ldr	w0, [x22, #4]
	tell	EV_VALUE, w0
	ldr	w0, [x22]
	cmp	w0, w23
	b.ne	fault
	add	x22, x22, x24
	subs	x23, x23, #1
	b.ne	writes
	b	end

user32:					/* A32: r1 address, r2 pages, r3 their size, r7 DEVICES */
	.inst	0xe5910000		/* ldr r0, [r1] */
	.inst	0xe5870508		/* str r0, [r7, #EV_VALUE] */
	.inst	0xe0811003		/* add r1, r1, r3 */
	.inst	0xe2522001		/* subs r2, r2, #1 */
	.inst	0x1afffffa		/* bne user32 */
	.inst	0xe587050c		/* str r0, [r7, #EV_END] */
	.inst	0xeafffffe		/* b . */

idle:					/* the "other task" where ready must find user mode */
	b	idle

kernel_reads:
	bl	arm_timer
	msr	daifclr, #2
1:	ldr	w0, [x22]
	tell	EV_VALUE, w0
	add	x22, x22, x24
	subs	x23, x23, #1
	b.ne	1b
	msr	daifset, #2
	b	end

arm_timer:				/* 5 ms */
	mrs	x0, cntfrq_el0
	mov	x1, #200
	udiv	x0, x0, x1
	msr	cntv_tval_el0, x0
	mov	x0, #1
	msr	cntv_ctl_el0, x0
	ret

bad_control:				/* and some good ones */
	mov	x1, xzr
	apf_call OP_UNKNOWN
	tell	EV_RESULT, w0
	mov	x1, #1 << 32
	apf_call OP_INFO
	tell	EV_RESULT, w0
	ldr	w0, =FN_APF
	mov	x1, xzr
	mov	x6, #1 << 32
	ldr	w2, =OP_INFO
	hvc	#0
	tell	EV_RESULT, w0
	ldr	w1, =0x70000005		/* not RAM */
	apf_call OP_ENABLE
	tell	EV_RESULT, w0
	ldr	w1, =(AREA + 5)		/* is so already */
	apf_call OP_ENABLE
	tell	EV_RESULT, w0
	ldr	w0, =FN_APF		/* by SMC */
	mov	x1, xzr
	ldr	w2, =OP_INFO
	mov	x6, xzr
	smc	#0
	tell	EV_RESULT, w0
	tell	EV_RESULT, w1
	tell	EV_RESULT, w3
	ldr	w0, =FN_FEATURES
	hvc	#0
	tell	EV_RESULT, w0
	tell	EV_RESULT, w3
	b	end

cpu_on:					/* twice; the second time it must be like new */
	mov	x8, #9
	bl	switch_on
1:	ldr	x0, =FN_AFFINITY
	mov	x1, #1
	mov	x2, xzr
	hvc	#0
	cmp	x0, #1
	b.ne	1b
	mov	x8, xzr
	bl	switch_on
	b	end

switch_on:				/* x8 = scenario; it runs with its caches off at first */
	ldr	x9, =SECOND_LIFE
	stp	x8, x22, [x9]
	stp	x23, x24, [x9, #16]
	str	x25, [x9, #32]
	dc	civac, x9
	dsb	sy
	ldr	x0, =FN_CPU_ON
	mov	x1, #1
	adr	x2, switched_on
	mov	x3, x9
	hvc	#0
	tell	EV_RESULT, w0
	ret

switched_on:
	mov	x9, x0
	ldp	x0, x1, [x9]
	ldp	x2, x3, [x9, #16]
	ldr	x4, [x9, #32]
	b	entry

/* The reason is told before it is taken: the test may look at the area then. */
sync:
	push_frame
	and	x2, x1, #0xf		/* from where */
	ldr	w5, =0x92000034
	ldr	w6, =0x96000034
	cmp	x2, #0
	csel	w5, w5, w6, eq
	mrs	x0, esr_el1
	cmp	w0, w5
	b.ne	fault
	own	x5, AREA
	own	x6, WOKEN
	mrs	x4, far_el1
	ldr	w3, [x5]
	cmp	w3, #1
	b.eq	not_present
	cmp	w3, #2
	b.ne	fault
	tell	EV_READY, w4
	str	w4, [x6]
	str	wzr, [x5]
	cbnz	x2, leave		/* the waiter looks itself */
	cmn	w4, #1
	b.eq	leave
	add	sp, sp, #FRAME		/* leave the idle task for good */
	b	leave

not_present:
	tell	EV_NP, w4
	str	wzr, [x5]
	cmp	x21, #9
	b.eq	cpu_off
	tbnz	x25, #FLAG_INT, wait_here
	tbnz	x25, #WITH_REGIONS, wait_here
	adr	x0, idle
	ldr	x1, =USER
	add	x0, x0, x1
	msr	elr_el1, x0
	msr	spsr_el1, xzr
	eret

wait_here:
	msr	daifclr, #2
wait:					/* what comes in between starts it again: see leave */
	ldr	w0, [x6]
	cmp	w0, w4
	b.eq	wait_end
	cmp	x21, #3
	b.ne	wait
	wfi
	b	wait
wait_end:
	msr	daifset, #2

leave:
	ldp	x0, x1, [sp, #64]
	tst	x1, #0xf
	b.eq	1f
	adr	x2, wait
	adr	x3, wait_end
	cmp	x0, x2
	b.lo	1f
	cmp	x0, x3
	b.hs	1f
	mov	x0, x2			/* not into a WFI whose reason has just been served */
1:	msr	elr_el1, x0
	msr	spsr_el1, x1
	ldp	x0, x1, [sp]
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	add	sp, sp, #FRAME
	eret

irq:
	push_frame
	mrs	x7, ICC_IAR1
	cmp	x7, #TIMER_PPI
	b.eq	tick
	cmp	x7, #READY_PPI
	b.ne	other
	own	x5, AREA
	own	x6, WOKEN
	ldr	w4, [x5, #4]
	tell	EV_READY, w4
	str	w4, [x6]
	str	wzr, [x5, #4]
	mov	x1, xzr
	apf_call OP_ACK
	msr	ICC_EOIR1, x7
	b	leave
tick:
	tell	EV_TICK, w7
	mov	x6, x30
	bl	arm_timer
	mov	x30, x6
	msr	ICC_EOIR1, x7
	b	leave

cpu_off:
	ldr	w0, =FN_CPU_OFF
	hvc	#0
other:
	mrs	x0, esr_el1
fault:
	tell	EV_FAULT, w0
	b	end

	.ltorg
guest_end:
	.section .note.GNU-stack, "", %progbits
