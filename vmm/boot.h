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
	const char *cmdline;
	unsigned int cpus;
	struct vmm_boot_file *files;
	unsigned int nr_files;		/* Linux: at most 1 */
};

struct vmm_boot_entry {
	bool long_mode;		/* else 32-bit protected mode without paging */
	uint64_t rip;
	uint64_t info;		/* guest-physical: boot_params for RSI, or multiboot's for EBX */
};

#endif
