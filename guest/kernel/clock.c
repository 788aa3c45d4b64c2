/* SPDX-License-Identifier: MIT */
/* Ticks of the processor's clock, and microseconds. */
#include "kernel.h"

static uint64_t ticks_khz = 1000000;

void clock_set_khz(uint64_t khz)
{
	if (khz)
		ticks_khz = khz;
}

uint64_t clock_khz(void)
{
	return ticks_khz;
}

uint64_t clock_ticks(uint64_t us)
{
	return us * ticks_khz / 1000;
}

uint64_t clock_us(uint64_t ticks)
{
	return ticks / ticks_khz * 1000 + ticks % ticks_khz * 1000 / ticks_khz;
}

void clock_delay(uint64_t us)
{
	uint64_t end = clock_now() + clock_ticks(us);

	while (clock_now() < end)
		cpu_relax();
}
