/* SPDX-License-Identifier: MIT */
/* ACPI tables: hardware-reduced, just enough for processors, power and the serial port. */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdint.h>

#include "ram.h"

/*
 * Write the tables at GPA_ACPI for this many vCPUs (1..VMM_MAX_VCPUS). Returns the
 * guest-physical address of the RSDP, or 0 if RAM does not reach there.
 */
uint64_t vmm_acpi_write(const struct vmm_ram *ram, unsigned int cpus);

#endif
