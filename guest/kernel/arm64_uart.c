/* SPDX-License-Identifier: MIT */
/* The UART that the device tree names: an ns16550a or a PL011. */
#include "kernel.h"

enum { NS16550A_LSR = 5, NS16550A_SCRATCH = 7, PL011_FLAGS = 0x18 };
enum { LSR_DATA_READY = 0x01, LSR_CAN_SEND = 0x20 };
enum { FLAG_EMPTY = 0x10, FLAG_FULL = 0x20 };

static uint8_t read8(uint32_t reg)
{
	return *(volatile uint8_t *)(machine.serial + reg);
}

static uint32_t pl011_flags(void)
{
	return *(volatile uint32_t *)(machine.serial + PL011_FLAGS);
}

static bool can_send(void)
{
	if (machine.serial_is_pl011)
		return !(pl011_flags() & FLAG_FULL);
	return read8(NS16550A_LSR) & LSR_CAN_SEND;
}

static bool has_data(void)
{
	if (machine.serial_is_pl011)
		return !(pl011_flags() & FLAG_EMPTY);
	return read8(NS16550A_LSR) & LSR_DATA_READY;
}

/* Both have their data register first. */
void uart_put(char c)
{
	while (!can_send())
		;
	*(volatile uint8_t *)machine.serial = (uint8_t)c;
}

int uart_get(void)
{
	return has_data() ? read8(0) : -1;
}

void uart_beat(uint8_t beat)
{
	if (!machine.serial_is_pl011)
		*(volatile uint8_t *)(machine.serial + NS16550A_SCRATCH) = beat;
}
