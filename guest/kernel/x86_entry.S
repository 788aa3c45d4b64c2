/* SPDX-License-Identifier: MIT */
/* Ways in and out of the kernel, and from one task to another. */
#include "x86_layout.h"

	.text
	.code64

/* One stub per vector, 16 bytes each, so that all look the same to trap(). */
#define HAS_ERROR_CODE(n) \
	((n) == 8 || ((n) >= 10 && (n) <= 14) || (n) == 17 || (n) == 21 || (n) == 29 || (n) == 30)

	.balign 16
	.globl trap_stubs
trap_stubs:
	vector = 0
	.rept 256
	.balign 16
	.if !HAS_ERROR_CODE(vector)
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	vector = vector + 1
	.endr

trap_common:
	cld
	push %rax
	push %rbx
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %rbp
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	call trap
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rbp
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rbx
	pop %rax
	add $16, %rsp
	iretq

/* void context_switch(uint64_t *save_rsp, uint64_t rsp) */
	.globl context_switch
context_switch:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, (%rdi)
	mov %rsi, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret

/* Where a new task's first switch returns to; aligned as a call would have left it. */
	.globl task_start
task_start:
	call task_begin
	ud2

/* void enter_user(uint64_t rip, uint64_t rsp, uint64_t arg), with interrupts on there */
	.globl enter_user
enter_user:
	pushq $SEL_UDATA
	push %rsi
	pushq $0x202
	pushq $SEL_UCODE
	push %rdi
	mov %rdx, %rdi
	xor %esi, %esi
	xor %edx, %edx
	iretq

/*
 * void irq_on_and_halt(void): nothing comes between the two instructions, except on an emulated
 * processor that forgets the interrupt shadow where it leaves the guest there (the lab's). So
 * trap() goes on behind halt_site when it finds itself there, as on arm64.
 */
	.globl irq_on_and_halt, halt_site
irq_on_and_halt:
	sti
halt_site:
	hlt
	ret

/* uint64_t touch_irqs_on(const uint64_t *word): behind the interrupt shadow */
	.globl touch_irqs_on, touch_site
touch_irqs_on:
	sti
	nop
touch_site:
	mov (%rdi), %rax
	cli
	ret

/* uint64_t touch_in_shadow(const uint64_t *word): of a shadow one instruction is covered */
	.globl touch_in_shadow
touch_in_shadow:
	sti
	mov (%rdi), %rax
	cli
	ret

/* void *memset(void *to, int byte, size_t size) */
	.globl memset
memset:
	mov %rdi, %r8
	mov %esi, %eax
	mov %rdx, %rcx
	rep stosb
	mov %r8, %rax
	ret

/* void *memcpy(void *to, const void *from, size_t size) */
	.globl memcpy
memcpy:
	mov %rdi, %rax
	mov %rdx, %rcx
	rep movsb
	ret

/* int msr_read(uint32_t msr, uint64_t *value): -1 if that raised #GP */
	.globl msr_read, msr_read_site
msr_read:
	mov %edi, %ecx
msr_read_site:
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, (%rsi)
	xor %eax, %eax
	ret

/* int msr_write(uint32_t msr, uint64_t value): -1 if that raised #GP */
	.globl msr_write, msr_write_site
msr_write:
	mov %edi, %ecx
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
msr_write_site:
	wrmsr
	xor %eax, %eax
	ret

/* trap() continues here after a #GP at one of the two sites. */
	.globl msr_failed
msr_failed:
	mov $-1, %eax
	ret

	.section .note.GNU-stack, "", @progbits
