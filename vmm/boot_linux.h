/* SPDX-License-Identifier: MIT */
/* Booting Linux, and 64-bit ELF kernels that are content with the same. */
#ifndef VMM_BOOT_LINUX_H
#define VMM_BOOT_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include "boot.h"

struct vmm_linux_image {
	struct vmm_image image;
	bool has_header;		/* a bzImage: header is its set-up header */
	struct setup_header header;
};

/*
 * A bzImage with 64-bit entry, or a 64-bit ELF. 0; -EINVAL + apf_error: neither, or
 * malformed (the text names the field). Pure.
 */
int vmm_linux_parse(const void *file, size_t len, struct vmm_linux_image *out);

/*
 * Put kernel, command line, boot_params, e820 map, ACPI tables, GDT and identity page
 * tables into RAM. 0, or -EINVAL/-ENOSPC + apf_error.
 */
int vmm_linux_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		   struct vmm_boot_entry *out);

#endif
