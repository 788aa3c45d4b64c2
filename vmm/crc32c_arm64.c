/* SPDX-License-Identifier: MIT */
/* CRC-32C by ARMv8's instruction, which ARMv8.0 need not have. */
#include "crc32c.h"

#include <string.h>
#include <sys/auxv.h>

#include <asm/hwcap.h>

bool crc32c_has_instruction(void)
{
	return getauxval(AT_HWCAP) & HWCAP_CRC32;
}

uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t eight;

	for (; len >= sizeof(eight); p += sizeof(eight), len -= sizeof(eight)) {
		memcpy(&eight, p, sizeof(eight));
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(eight));
	}
	for (; len; p++, len--)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(*p));
	return crc;
}
