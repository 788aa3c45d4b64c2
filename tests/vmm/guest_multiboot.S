/* SPDX-License-Identifier: MIT */
/*
 * A multiboot image without a file format, in 32-bit mode: says whether it was entered as
 * the specification wants it, its command line, and its first module's string and
 * content; then ends with debug exit.
 */
#define UART		0x3f8
#define DEBUG_EXIT	0xf4
#define EXIT_BYTE	0x10
#define MB_LOAD		0x100000
#define MB_AT(label)	MB_LOAD + (label - test_multiboot_start)
#define INFO_CMDLINE	16
#define INFO_MODULES	24
#define EFLAGS_IF_VM	0x20200
#define CR0_PE_PG	0x80000001

	.section .rodata
	.global test_multiboot_start, test_multiboot_end
	.code32
	.balign	4
test_multiboot_start:
	.long	0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
	.long	MB_LOAD, MB_LOAD, 0, MB_AT(mb_stack_end), MB_AT(mb_entry)
mb_entry:
	cmpl	$0x2badb002, %eax
	jne	mb_wrong
	movl	%cr0, %eax
	andl	$CR0_PE_PG, %eax
	cmpl	$1, %eax
	jne	mb_wrong
	movl	$MB_AT(mb_stack_end), %esp
	pushfl
	testl	$EFLAGS_IF_VM, (%esp)
	jnz	mb_wrong
	movl	$MB_AT(mb_right), %esi
	call	mb_say
	movl	INFO_CMDLINE(%ebx), %esi
	call	mb_line
	movl	INFO_MODULES(%ebx), %ebp
	movl	8(%ebp), %esi
	call	mb_line
	movl	(%ebp), %esi
	call	mb_line
mb_wrong:
	movb	$EXIT_BYTE, %al
	outb	%al, $DEBUG_EXIT
	hlt

mb_line:
	pushl	%esi
	movl	$MB_AT(mb_mark), %esi
	call	mb_say
	popl	%esi
	call	mb_say
	movl	$MB_AT(mb_newline), %esi
mb_say:
	movw	$UART, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	ret

mb_right:	.asciz	"@apf entered\n"
mb_mark:	.asciz	"@apf "
mb_newline:	.asciz	"\n"
test_multiboot_end:
	.set	mb_stack_end, test_multiboot_end + 256

	.section .note.GNU-stack, "", @progbits
