/* SPDX-License-Identifier: MIT */
/*
 * From the multiboot loader's 32-bit mode, and from a started processor's 16-bit
 * mode, to 64-bit mode with the first 4 GiB identity-mapped.
 */
#include "x86_layout.h"

#define MULTIBOOT_MAGIC	0x1badb002
#define MULTIBOOT_FLAGS	0x00000003	/* align modules, give the memory map */

#define CR0_PE		0x00000001
#define CR0_PG		0x80000000
#define CR0_WP		0x00010000
#define CR4_PAE		0x00000020
#define CR4_MCE		0x00000040
#define MSR_EFER	0xc0000080
#define EFER_LME	0x00000100
#define BIG_PAGE	0x83		/* present, writable, 2 MiB */
#define BIG_DEVICE	0x9b		/* and not cached */
#define DEVICES_FROM	0xc0000000

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_MAGIC
	.long MULTIBOOT_FLAGS
	.long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.text
	.code32
	.globl start
start:
	cli
	cld
	mov $boot_stack + KSTACK_SIZE, %esp
	push %eax
	push %ebx
	call fill_tables
	pop %ebx
	pop %eax
	mov %eax, %edi
	mov %ebx, %esi
	call enter_long_mode
	lgdt boot_gdt_pointer
	ljmp $SEL_BOOT_CODE64, $start64

	.code64
start64:
	mov $SEL_BOOT_DATA, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	mov $boot_stack + KSTACK_SIZE, %esp
	xor %ebp, %ebp
	call kernel_main
1:	hlt
	jmp 1b

	.code32
/* One table of 4 pointers to tables of 512 pages of 2 MiB. */
fill_tables:
	movl $boot_pdpt + 0x7, root_table
	mov $boot_pd + 0x7, %eax
	mov $boot_pdpt, %edi
	mov $4, %ecx
1:	mov %eax, (%edi)
	add $PAGE_SIZE, %eax
	add $8, %edi
	loop 1b
	xor %eax, %eax
	mov $boot_pd, %edi
2:	mov %eax, %edx
	or $BIG_PAGE, %edx
	cmp $DEVICES_FROM, %eax
	jb 3f
	or $BIG_DEVICE, %edx
3:	mov %edx, (%edi)
	add $8, %edi
	add $0x200000, %eax
	jnc 2b
	ret

/* Keeps EDI and ESI. Left is the jump to a 64-bit code segment. */
enter_long_mode:
	mov %cr4, %eax
	or $(CR4_PAE | CR4_MCE), %eax
	mov %eax, %cr4
	mov $root_table, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $(CR0_PG | CR0_WP | CR0_PE), %eax
	mov %eax, %cr0
	ret

/*
 * The other processors. Copied to TRAMPOLINE; what it refers to is there, too. The
 * stack is the one that this processor's starter left in ap_stack.
 */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	lgdtl TRAMPOLINE + (boot_gdt_pointer_16 - trampoline)
	mov %cr0, %eax
	or $CR0_PE, %eax
	mov %eax, %cr0
	ljmpl $SEL_BOOT_CODE32, $ap_start32
	.balign 4
boot_gdt_pointer_16:
	.word boot_gdt_end - boot_gdt - 1
	.long boot_gdt
trampoline_end:

	.code32
ap_start32:
	mov $SEL_BOOT_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov ap_stack, %esp
	call enter_long_mode
	ljmp $SEL_BOOT_CODE64, $ap_start64

	.code64
ap_start64:
	mov ap_stack, %rsp
	xor %ebp, %ebp
	call smp_main
1:	hlt
	jmp 1b

	.section .rodata
	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* 32-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.quad 0x00af9b000000ffff	/* 64-bit code */
boot_gdt_end:
boot_gdt_pointer:
	.word boot_gdt_end - boot_gdt - 1
	.long boot_gdt

	.bss
	.balign KSTACK_SIZE
	.globl boot_stack
boot_stack:
	.skip KSTACK_SIZE
	.balign PAGE_SIZE
	.globl root_table, boot_pdpt, boot_pd
root_table:
	.skip PAGE_SIZE
boot_pdpt:
	.skip PAGE_SIZE
boot_pd:
	.skip 4 * PAGE_SIZE

	.section .note.GNU-stack, "", @progbits
