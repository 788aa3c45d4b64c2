/* SPDX-License-Identifier: MIT */
/*
 * The guest of test_binding: copied to 0x10000, runs at once in long mode with the
 * tables that the test has laid out. It tells what happens by port writes:
 *	0x500 NP token	0x502 ready token	0x504 value read	0x506 end	0x508 timer tick
 *	0x50a ordinary #PF (error)	0x50c #GP
 * In: rdi = scenario, rsi = first address, rdx = how many pages.
 */
#define AREA		0x30000
#define WOKEN		0x31000
#define MSR_EN		0x4b564d02
#define MSR_INT		0x4b564d06
#define MSR_ACK		0x4b564d07
#define X2APIC_EOI	0x80b
#define X2APIC_SVR	0x80f
#define X2APIC_LVTT	0x832
#define X2APIC_TMICT	0x838
#define X2APIC_TDCR	0x83e

	.section .rodata
	.globl guest_start, guest_end, guest_entry, guest_pf, guest_ready, guest_tick, guest_gp
	.balign 16
guest_start:

/* wrmsr with constants */
	.macro setmsr msr, value
	movl	$\msr, %ecx
	movl	$\value, %eax
	xorl	%edx, %edx
	wrmsr
	.endm

guest_entry:
	movq	%rdx, %r12
	movl	$0x1b, %ecx		/* APIC_BASE: enabled, x2APIC */
	rdmsr
	orl	$0xc00, %eax
	wrmsr
	setmsr	MSR_INT, 0xf3
	setmsr	MSR_EN, AREA + 9
	setmsr	X2APIC_SVR, 0x1ff	/* only now: N6 */
	cmpl	$1, %edi
	je	kernel_reads
	cmpl	$2, %edi
	je	kernel_reads_irqs_off
	cmpl	$3, %edi
	je	bad_control
	/* ring 3, IOPL 3, interrupts on */
	pushq	$0x2b
	pushq	$0x28000
	pushq	$0x3202
	pushq	$0x33
	leaq	user(%rip), %rax
	pushq	%rax
	iretq

user:
	cmpl	$4, %edi
	je	user_string_out
1:	movl	(%rsi), %eax		/* the access that traps */
	movw	$0x504, %dx
	outl	%eax, %dx
	addq	$4096, %rsi
	decq	%r12
	jnz	1b
	jmp	end

user_string_out:			/* the emulator reads the missing page */
	movw	$0x504, %dx
	movl	$2, %ecx
	rep outsl
	addq	$4088, %rsi
	decq	%r12
	jnz	user_string_out
	jmp	end

kernel_reads:
	setmsr	X2APIC_TDCR, 0xb	/* divide by 1 */
	setmsr	X2APIC_LVTT, 0x200f1	/* periodic, vector 0xf1 */
	setmsr	X2APIC_TMICT, 5000000	/* 5 ms of the APIC's bus clock */
	sti
	nop
1:	movl	(%rsi), %eax
	movw	$0x504, %dx
	outl	%eax, %dx
	addq	$4096, %rsi
	decq	%r12
	jnz	1b
	cli
	setmsr	X2APIC_LVTT, 0x100f1
	jmp	end

kernel_reads_irqs_off:
1:	movl	(%rsi), %eax
	movw	$0x504, %dx
	outl	%eax, %dx
	addq	$4096, %rsi
	decq	%r12
	jnz	1b
	jmp	end

bad_control:				/* each of these is a #GP */
	setmsr	MSR_EN, AREA + 0x19
	setmsr	MSR_EN, AREA + 0x29
	setmsr	MSR_EN, AREA + 0xd
	setmsr	MSR_EN, 0x70000009
	setmsr	MSR_INT, 0x1f3
	jmp	end

end:
	movw	$0x506, %dx
	outl	%eax, %dx
	jmp	end

guest_pf:				/* error code on the stack */
	pushq	%rax
	pushq	%rdx
	movl	AREA, %eax
	cmpl	$1, %eax
	jne	ordinary
	movl	$0, AREA
	movq	%cr2, %rax
	movw	$0x500, %dx
	outl	%eax, %dx
	sti
2:	pause				/* the "other task" */
	cmpl	%eax, WOKEN
	jne	2b
	cli
	popq	%rdx
	popq	%rax
	addq	$8, %rsp
	iretq
ordinary:
	movw	$0x50a, %dx
	outl	%eax, %dx
	jmp	end

guest_ready:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	setmsr	X2APIC_EOI, 0
	movl	AREA + 4, %eax
	movw	$0x502, %dx
	outl	%eax, %dx
	movl	%eax, WOKEN
	movl	$0, AREA + 4
	setmsr	MSR_ACK, 1
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

guest_tick:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	movw	$0x508, %dx
	outl	%eax, %dx
	setmsr	X2APIC_EOI, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

guest_gp:				/* error code; skip the 2-byte wrmsr */
	pushq	%rax
	pushq	%rdx
	movw	$0x50c, %dx
	outl	%eax, %dx
	popq	%rdx
	popq	%rax
	addq	$8, %rsp
	addq	$2, (%rsp)
	iretq
guest_end:
	.section .note.GNU-stack, "", @progbits
