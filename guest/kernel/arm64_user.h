/* SPDX-License-Identifier: MIT */
/* System calls of EL0. */
#ifndef KERNEL_ARM64_USER_H
#define KERNEL_ARM64_USER_H

#include <stdint.h>

/* Number in x8, arguments in x0 and x1, result in x0. */
static inline uint64_t syscall2(uint64_t number, uint64_t a, uint64_t b)
{
	register uint64_t x8 __asm__("x8") = number;
	register uint64_t x0 __asm__("x0") = a;
	register uint64_t x1 __asm__("x1") = b;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x8) : "memory");
	return x0;
}

#endif
