/* SPDX-License-Identifier: MIT */
/* CRC-32C by SSE4.2's instruction. */
#include "crc32c.h"

#include <nmmintrin.h>
#include <string.h>

bool crc32c_has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2")))
uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc, eight;

	for (; len >= sizeof(eight); p += sizeof(eight), len -= sizeof(eight)) {
		memcpy(&eight, p, sizeof(eight));
		wide = _mm_crc32_u64(wide, eight);
	}
	crc = (uint32_t)wide;
	for (; len; p++, len--)
		crc = _mm_crc32_u8(crc, *p);
	return crc;
}
