/* SPDX-License-Identifier: MIT */
/* Numbers that assembler and C share, on all processors. */
#ifndef KERNEL_LAYOUT_H
#define KERNEL_LAYOUT_H

#define PAGE_SIZE	4096
#define KSTACK_SIZE	8192	/* and their alignment: a task is found from its stack pointer */

#endif
