/* SPDX-License-Identifier: MIT */
/* What the boot protocols have in common: a kernel and files go in, an entry comes out. */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image.h"

/* A file beside the kernel: Linux's initrd, or a multiboot module. */
struct vmm_boot_file {
	size_t len;
	const char *text;	/* a module's string */
	void *where;		/* out: where its len bytes are to be put */
};

struct vmm_boot_args {
	const void *kernel;
	size_t kernel_len;
	const char *cmdline;	/* not NULL where a kernel is loaded */
	unsigned int cpus;
	struct vmm_boot_file *files;
	unsigned int nr_files;		/* Linux, arm64: at most 1 */
};

struct vmm_boot_entry {
	uint64_t pc;
	uint64_t info;		/* guest-physical: x86: boot_params for RSI, or multiboot's for EBX;
				   arm64: the device tree for X0 */
	bool long_mode;		/* x86: else 32-bit protected mode without paging */
};

#endif
