/* SPDX-License-Identifier: MIT */
/* The UART at 0x3f8. */
#include "kernel.h"

enum { UART = 0x3f8, UART_LSR = UART + 5, UART_SCRATCH = UART + 7 };
enum { LSR_DATA_READY = 0x01, LSR_CAN_SEND = 0x20 };

void uart_put(char c)
{
	while (!(inb(UART_LSR) & LSR_CAN_SEND))
		;
	outb(UART, (uint8_t)c);
}

int uart_get(void)
{
	return inb(UART_LSR) & LSR_DATA_READY ? inb(UART) : -1;
}

void uart_beat(uint8_t beat)
{
	outb(UART_SCRATCH, beat);
}
