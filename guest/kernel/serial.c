/* SPDX-License-Identifier: MIT */
/* The console: the UART at 0x3f8, polled both ways. */
#include "kernel.h"

enum { UART = 0x3f8, UART_IER = UART + 1, UART_LSR = UART + 5, UART_SCRATCH = UART + 7 };
enum { LSR_DATA_READY = 0x01, LSR_CAN_SEND = 0x20 };

void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(UART_LSR) & LSR_CAN_SEND))
			;
		outb(UART, (uint8_t)*text);
	}
}

static void put_in_base(const char *name, uint64_t value, uint32_t base)
{
	char digits[24];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(name);
	put(at);
}

void put_number(const char *name, uint64_t value)
{
	put_in_base(name, value, 10);
}

void put_hex(const char *name, uint64_t value)
{
	put_in_base(name, value, 16);
}

void read_line(char *line, size_t size)
{
	static uint8_t beat;
	size_t used = 0;

	for (;;) {
		char c;

		outb(UART_SCRATCH, beat++);
		if (!(inb(UART_LSR) & LSR_DATA_READY))
			continue;
		c = (char)inb(UART);
		if (c == '\n' || c == '\r')
			break;
		if (used + 1 < size)
			line[used++] = c;
	}
	line[used] = '\0';
}

void die(const char *what)
{
	irq_off();
	put("@apf error ");
	put(what);
	put("\n");
	debug_exit(EXIT_PANIC);
	power_off();
}
