/* SPDX-License-Identifier: MIT */
#include "port.h"

#include <sys/io.h>

enum { UART = 0x3f8, UART_PORTS = 8 };

bool port_open(void)
{
	return !ioperm(UART, UART_PORTS, 1);
}

uint8_t port_read(unsigned int reg)
{
	return inb((uint16_t)(UART + reg));
}

void port_write(unsigned int reg, uint8_t value)
{
	outb(value, (uint16_t)(UART + reg));
}

uint64_t port_ticks(void)
{
	return __builtin_ia32_rdtsc();
}
