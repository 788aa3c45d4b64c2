/* SPDX-License-Identifier: MIT */
/* CRC-32C (Castagnoli), as iSCSI and ext4 use it. */
#ifndef VMM_CRC32C_H
#define VMM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of bytes that follow others with checksum `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
