/* SPDX-License-Identifier: MIT */
/*
 * A guest of a hundred instructions, in EL1 with the MMU off, position-independent. Says
 * "ready", then obeys one letter at a time from the serial port:
 *	f  fill the data pages          t  test them, says "good" or "bad"
 *	q  power off (PSCI)             r  reset (PSCI)
 *	e  debug exit with a byte       l  the same with a long word
 */
#define DATA_PAGES	64
#define LSR		5
#define SYSTEM_OFF	0x84000008
#define SYSTEM_RESET	0x84000009
#define EXIT_BYTE	0x10

	.section .rodata
	.balign	8
	.global test_guest_start, test_guest_end
test_guest_start:
	mov	x20, #0x09000000		/* serial port */
	mov	x21, #0x09010000		/* debug exit */
	mov	x22, #0x40400000		/* data */
	adr	x1, ready
	bl	say
next:
	ldrb	w0, [x20, #LSR]
	tbz	w0, #0, next
	ldrb	w0, [x20]
	cmp	w0, #'f'
	b.eq	fill
	cmp	w0, #'t'
	b.eq	test
	cmp	w0, #'q'
	b.eq	power_off
	cmp	w0, #'r'
	b.eq	reset
	cmp	w0, #'e'
	b.eq	exit_byte
	cmp	w0, #'l'
	b.eq	exit_long
	b	next

fill:
	mov	x2, x22
	mov	w3, #DATA_PAGES
1:	eor	x4, x2, #0x5555555555555555
	str	x4, [x2, #8]
	add	x2, x2, #4096
	subs	w3, w3, #1
	b.ne	1b
	adr	x1, filled
	bl	say
	b	next

test:
	mov	x2, x22
	mov	w3, #DATA_PAGES
	adr	x1, good
1:	eor	x4, x2, #0x5555555555555555
	ldr	x5, [x2, #8]
	cmp	x4, x5
	b.eq	2f
	adr	x1, bad
2:	add	x2, x2, #4096
	subs	w3, w3, #1
	b.ne	1b
	bl	say
	b	next

power_off:
	ldr	w0, =SYSTEM_OFF
	hvc	#0
reset:
	ldr	w0, =SYSTEM_RESET
	hvc	#0
exit_byte:
	mov	w0, #EXIT_BYTE
	strb	w0, [x21]
exit_long:
	ldr	w0, =0x12345678
	str	w0, [x21]
	b	next

say:	ldrb	w0, [x1], #1
	cbz	w0, 1f
	strb	w0, [x20]
	b	say
1:	ret

	.ltorg
ready:	.asciz	"@apf ready\n"
filled:	.asciz	"@apf filled\n"
good:	.asciz	"@apf good\n"
bad:	.asciz	"@apf bad\n"
test_guest_end:

	.global test_guest_ends
test_guest_ends:
	.asciz	"qre"

	.section .note.GNU-stack, "", @progbits
