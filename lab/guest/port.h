/* SPDX-License-Identifier: MIT */
/* What the workload needs of the machine: the serial port's registers and a counter. */
#ifndef LAB_GUEST_PORT_H
#define LAB_GUEST_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* Before the others. */
bool port_open(void);

/* The registers of a 16550, 0..7. */
uint8_t port_read(unsigned int reg);
void port_write(unsigned int reg, uint8_t value);

/* Of the processor's own counter, which no kernel corrects. */
uint64_t port_ticks(void);

#endif
