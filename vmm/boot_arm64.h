/* SPDX-License-Identifier: MIT */
/* Booting on arm64: Linux's Image, what has the same header, and ELF files. */
#ifndef VMM_BOOT_ARM64_H
#define VMM_BOOT_ARM64_H

#include "boot.h"

/*
 * An Image, uncompressed, or a 64-bit ELF. 0; -EINVAL + apf_error: neither, or malformed
 * (the text names the field), or compressed (the text says how to unpack it). Pure.
 */
int vmm_arm64_parse(const void *file, size_t len, struct vmm_image *out);

/*
 * Put kernel and device tree into RAM, and find room for the initrd (the one file): behind
 * the kernel, in this order. 0, or -EINVAL/-ENOSPC + apf_error.
 */
int vmm_arm64_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		   struct vmm_boot_entry *out);

#endif
