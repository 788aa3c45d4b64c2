/* SPDX-License-Identifier: MIT */
/*
 * The guest of the binding's tests on x86: copied to CODE, runs at once in long mode
 * with the tables of tiny_vm_x86.c. Numbers are tiny_vm.h's.
 * In: edi = scenario, rsi = first address, rdx = how many pages, ecx = generation.
 */
#define AREA		0x30000
#define WOKEN		0x31000
#define USER_STACK_TOP	0x2c000
#define MSR_EN		0x4b564d02
#define MSR_INT		0x4b564d06
#define MSR_ACK		0x4b564d07
#define X2APIC_EOI	0x80b
#define X2APIC_SVR	0x80f
#define X2APIC_LVTT	0x832
#define X2APIC_TMICT	0x838
#define X2APIC_TDCR	0x83e

#define GENERATION_INT	1
#define GENERATION_2010	2
#define GENERATION_RFC	3

#define EV_NP		0x500
#define EV_READY	0x504
#define EV_VALUE	0x508
#define EV_END		0x50c
#define EV_TICK		0x510
#define EV_FAULT	0x514
#define EV_RESULT	0x518

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

/*
 * With three words on the stack below the address to return to: not to a HLT that has not begun.
 * An interrupt never comes between STI and HLT, but the lab's processor forgets that where it leaves
 * the guest between the two, and the HLT would wait for what has come already.
 */
	.macro skip_hlt
	pushq	%rax
	leaq	halt(%rip), %rax
	cmpq	%rax, 32(%rsp)
	popq	%rax
	jne	9f
	incq	24(%rsp)
9:
	.endm

/* tell what is in eax */
	.macro tell what
	movw	$\what, %dx
	outl	%eax, %dx
	.endm

guest_entry:
	movq	%rdx, %r12
	movl	%ecx, generation(%rip)
	movl	$0x1b, %ecx		/* APIC_BASE: enabled, x2APIC */
	rdmsr
	orl	$0xc00, %eax
	wrmsr
	cmpl	$GENERATION_2010, generation(%rip)
	je	enable_2010
	cmpl	$GENERATION_RFC, generation(%rip)
	je	enable_rfc
	setmsr	MSR_INT, 0xf3
	setmsr	MSR_EN, AREA + 9
	jmp	enabled
enable_2010:
	setmsr	MSR_EN, AREA + 1
	jmp	enabled
enable_rfc:
	setmsr	MSR_EN, AREA + 9
	setmsr	MSR_INT, 0x1f3
enabled:
	setmsr	X2APIC_SVR, 0x1ff	/* only now: N6 */
	cmpl	$1, %edi
	je	kernel_reads
	cmpl	$2, %edi
	je	reads
	cmpl	$4, %edi
	je	bad_control
	/* ring 3, IOPL 3, interrupts on */
	pushq	$0x2b
	pushq	$USER_STACK_TOP
	pushq	$0x3202
	pushq	$0x33
	leaq	user(%rip), %rax
	pushq	%rax
	iretq

user:
	cmpl	$5, %edi
	je	string_out
	cmpl	$6, %edi
	je	slot_taken
reads:
	movl	(%rsi), %eax		/* the access that traps */
	tell	EV_VALUE
	addq	$4096, %rsi
	decq	%r12
	jnz	reads
	jmp	end

string_out:				/* the emulator reads the missing page */
	movw	$EV_VALUE, %dx
	movl	$2, %ecx
	rep outsl
	addq	$4088, %rsi
	decq	%r12
	jnz	string_out
	jmp	end

slot_taken:				/* by a ready that nobody has consumed (I4) */
	movl	$2, AREA
	movl	(%rsi), %eax
	movl	$0, AREA
	tell	EV_VALUE
	addq	$4096, %rsi
	decq	%r12
	jmp	reads

kernel_reads:
	setmsr	X2APIC_TDCR, 0xb	/* divide by 1 */
	setmsr	X2APIC_LVTT, 0x200f1	/* periodic, vector 0xf1 */
	setmsr	X2APIC_TMICT, 5000000	/* 5 ms of the APIC's bus clock */
	sti
	nop
1:	movl	(%rsi), %eax
	tell	EV_VALUE
	addq	$4096, %rsi
	decq	%r12
	jnz	1b
	cli
	setmsr	X2APIC_LVTT, 0x100f1
	jmp	end

bad_control:				/* each of these is a #GP */
	setmsr	MSR_EN, AREA + 0x19
	setmsr	MSR_EN, AREA + 0x29
	setmsr	MSR_EN, AREA + 0xd
	setmsr	MSR_EN, 0x70000009
	setmsr	MSR_INT, 0x3f3
	jmp	end

end:
	tell	EV_END
	jmp	end

/* The reason is told before it is taken: the test may look at the area then. */
guest_pf:				/* error code on the stack */
	pushq	%rax
	pushq	%rdx
	movl	AREA, %eax
	cmpl	$1, %eax
	je	not_present
	cmpl	$2, %eax
	jne	ordinary
	cmpl	$GENERATION_RFC, generation(%rip)	/* I7 */
	je	ordinary
	skip_hlt
	movq	%cr2, %rax
	tell	EV_READY
	movl	%eax, WOKEN
	movl	$0, AREA
	jmp	pf_done
not_present:
	movq	%cr2, %rax
	tell	EV_NP
	movl	$0, AREA
	cmpl	$3, %edi
	je	wait_halted
	sti
1:	pause				/* the "other task" */
	cmpl	%eax, WOKEN
	jne	1b
	cli
	jmp	pf_done
wait_halted:				/* the "other task" is none: HLT */
	cmpl	%eax, WOKEN
	je	pf_done
	sti
halt:	hlt
	cli
	jmp	wait_halted
pf_done:
	popq	%rdx
	popq	%rax
	addq	$8, %rsp
	iretq
ordinary:
	tell	EV_FAULT
	jmp	end

guest_ready:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	skip_hlt
	setmsr	X2APIC_EOI, 0
	movl	AREA + 4, %eax
	tell	EV_READY
	movl	%eax, WOKEN
	movl	$0, AREA + 4
	cmpl	$GENERATION_RFC, generation(%rip)
	je	1f
	setmsr	MSR_ACK, 1
	jmp	2f
1:	movl	$0, AREA
2:	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

guest_tick:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	tell	EV_TICK
	setmsr	X2APIC_EOI, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

guest_gp:				/* error code; skip the 2-byte wrmsr */
	pushq	%rax
	pushq	%rdx
	tell	EV_RESULT
	popq	%rdx
	popq	%rax
	addq	$8, %rsp
	addq	$2, (%rsp)
	iretq

	.balign 4
generation:
	.long	0
guest_end:
	.section .note.GNU-stack, "", @progbits
