/* SPDX-License-Identifier: MIT */
/*
 * A small kernel of the kind that runs on other machines unchanged: a 32-bit multiboot
 * (version 1) ELF file that says its command line, its modules' strings and contents on the
 * serial port, and ends through port 0xf4 with the digit that its command line begins with. If a 'w'
 * follows that, it waits for a character before it says the modules.
 */
#define UART		0x3f8
#define UART_STATUS	0x3fd
#define DATA_READY	1
#define DEBUG_EXIT	0xf4
#define STACK		0x90000		/* low memory */
#define ALIGN_MODULES	1
#define MEMORY_INFO	2
#define FLAGS		(ALIGN_MODULES | MEMORY_INFO)
#define MAGIC		0x1badb002
#define INFO_CMDLINE	16
#define INFO_MODULES	20		/* count, address */
#define MODULE_STRING	8
#define MODULE_SIZE	16

	.code32
	.section .text
	.long	MAGIC, FLAGS, -(MAGIC + FLAGS)
	.global	_start
_start:
	movl	$STACK, %esp
	movl	INFO_CMDLINE(%ebx), %esi
	movzbl	(%esi), %ebp
	subl	$'0', %ebp
	call	say
	movl	INFO_CMDLINE(%ebx), %esi
	cmpb	$'w', 1(%esi)
	jne	say_modules
	movw	$UART_STATUS, %dx
1:	inb	%dx, %al
	testb	$DATA_READY, %al
	jz	1b
say_modules:
	movl	INFO_MODULES(%ebx), %ecx
	movl	INFO_MODULES + 4(%ebx), %edi
modules:
	jecxz	end
	movl	MODULE_STRING(%edi), %esi
	call	say
	movl	(%edi), %esi
	call	say
	addl	$MODULE_SIZE, %edi
	decl	%ecx
	jmp	modules
end:
	movl	%ebp, %eax
	outl	%eax, $DEBUG_EXIT
	hlt

say:				/* the text at esi, and a line feed */
	movw	$UART, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	movb	$'\n', %al
	outb	%al, %dx
	ret

	.section .note.GNU-stack, "", @progbits
