/* SPDX-License-Identifier: MIT */
/*
 * Booting by the multiboot specification, version 1: images that say by a header in
 * their first 8 KiB that they want it.
 */
#ifndef VMM_BOOT_MULTIBOOT_H
#define VMM_BOOT_MULTIBOOT_H

#include <stdbool.h>

#include "boot.h"

/* Does a file have a multiboot header (with a checksum that is right)? Pure. */
bool vmm_multiboot_recognize(const void *file, size_t len);

/*
 * Segments and entry of such a file: from the header's address fields if it has some
 * (flag 16), else from its ELF headers, 32 or 64 bits. 0; -EINVAL + apf_error: malformed
 * (the text names the field), or it demands what is not offered. Pure.
 */
int vmm_multiboot_parse(const void *file, size_t len, struct vmm_image *out);

/*
 * Put kernel, multiboot information and ACPI tables into RAM, and find room for the
 * modules (files): page-aligned, from the kernel's end on. The information has memory
 * sizes and map, command line, modules and the loader's name. 0, or -EINVAL/-ENOSPC + apf_error.
 */
int vmm_multiboot_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		       struct vmm_boot_entry *out);

#endif
