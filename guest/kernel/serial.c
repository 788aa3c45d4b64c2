/* SPDX-License-Identifier: MIT */
/* The console, polled both ways. */
#include "kernel.h"

void put(const char *text)
{
	for (; *text; text++)
		uart_put(*text);
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
		int c;

		uart_beat(beat++);
		c = uart_get();
		if (c < 0)
			continue;
		if (c == '\n' || c == '\r')
			break;
		if (used + 1 < size)
			line[used++] = (char)c;
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
