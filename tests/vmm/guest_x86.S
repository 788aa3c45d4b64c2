/* SPDX-License-Identifier: MIT */
/*
 * A guest of a hundred instructions, in ring 0, position-independent. Says "ready",
 * then obeys one letter at a time from the serial port:
 *	f  fill the data pages          t  test them, says "good" or "bad"
 *	q  power off (ACPI)             r  reset (ACPI)
 *	k  reset (keyboard controller)  c  triple fault
 *	e  debug exit with a byte       l  the same with a long word
 */
#define DATA		0x400000
#define DATA_PAGES	64
#define LSR		0x3fd
#define UART		0x3f8
#define DEBUG_EXIT	0xf4
#define EXIT_BYTE	0x10
#define EXIT_LONG	0x12345678

	.section .rodata
	.global test_guest_start, test_guest_end
test_guest_start:
	leaq	ready(%rip), %rsi
	call	say
next:
	movw	$LSR, %dx
	inb	%dx, %al
	testb	$1, %al
	jz	next
	movw	$UART, %dx
	inb	%dx, %al
	cmpb	$'f', %al
	je	fill
	cmpb	$'t', %al
	je	test
	cmpb	$'q', %al
	je	power_off
	cmpb	$'r', %al
	je	reset
	cmpb	$'k', %al
	je	keyboard
	cmpb	$'c', %al
	je	crash
	cmpb	$'e', %al
	je	exit_byte
	cmpb	$'l', %al
	je	exit_long
	jmp	next

fill:
	movl	$DATA, %edi
	movl	$DATA_PAGES, %ecx
1:	leaq	0x1234567(%rdi), %rax
	movq	%rax, 8(%rdi)
	addq	$4096, %rdi
	loop	1b
	leaq	filled(%rip), %rsi
	call	say
	jmp	next

test:
	movl	$DATA, %edi
	movl	$DATA_PAGES, %ecx
	leaq	good(%rip), %rsi
1:	leaq	0x1234567(%rdi), %rax
	cmpq	%rax, 8(%rdi)
	je	2f
	leaq	bad(%rip), %rsi
2:	addq	$4096, %rdi
	loop	1b
	call	say
	jmp	next

power_off:
	movw	$0x600, %dx
	movb	$0x34, %al
	outb	%al, %dx
reset:
	movw	$0x602, %dx
	movb	$1, %al
	outb	%al, %dx
keyboard:
	movb	$0xfe, %al
	outb	%al, $0x64
crash:
	lidt	no_table(%rip)
	ud2

exit_byte:
	movb	$EXIT_BYTE, %al
	outb	%al, $DEBUG_EXIT
exit_long:
	movl	$EXIT_LONG, %eax
	outl	%eax, $DEBUG_EXIT
	jmp	next

say:
	movw	$UART, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	ret

ready:	.asciz	"@apf ready\n"
filled:	.asciz	"@apf filled\n"
good:	.asciz	"@apf good\n"
bad:	.asciz	"@apf bad\n"
no_table:
	.word	0
	.quad	0
test_guest_end:

	.global test_guest_ends
test_guest_ends:
	.asciz	"qrkce"

	.section .note.GNU-stack, "", @progbits
