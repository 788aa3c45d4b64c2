/* SPDX-License-Identifier: MIT */
/* System calls of ring 3. */
#ifndef KERNEL_X86_USER_H
#define KERNEL_X86_USER_H

#include <stdint.h>

/*
 * Breakpoints: of all ways into the kernel that ring 3 has, this one also works on hosts that run
 * ring 3 natively and emulate the rest.
 */
#define VECTOR_SYSCALL	3u

/* Number in RAX, arguments in RDI and RSI, result in RAX. */
static inline uint64_t syscall2(uint64_t number, uint64_t a, uint64_t b)
{
	uint64_t result;

	__asm__ volatile("int3" : "=a"(result) : "0"(number), "D"(a), "S"(b) : "memory");
	return result;
}

#endif
