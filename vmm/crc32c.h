/* SPDX-License-Identifier: MIT */
/* CRC-32C (Castagnoli), as iSCSI and ext4 use it. */
#ifndef VMM_CRC32C_H
#define VMM_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The checksum of bytes that follow others with checksum `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The two ways to it, for tests: here crc is inverted before and after. */
uint32_t crc32c_plain(uint32_t crc, const uint8_t *p, size_t len);
/* crc32c_x86.c, crc32c_arm64.c: only where the processor has it. */
bool crc32c_has_instruction(void);
uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p, size_t len);

#endif
