/* SPDX-License-Identifier: MIT */
/*
 * Kernel images, as files that may be hostile: parsing is a pure function over their
 * bytes, and what it returns has been checked against overflow and against the
 * file's end, but not yet against the guest's memory.
 */
#ifndef VMM_BOOT_LINUX_H
#define VMM_BOOT_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include "ram.h"

struct vmm_segment {
	uint64_t gpa;
	uint64_t file_offset, file_len;
	uint64_t mem_len;	/* at least file_len; the rest is zero */
};

#define VMM_SEGMENTS_MAX	32u

struct vmm_image {
	struct vmm_segment segments[VMM_SEGMENTS_MAX];
	unsigned int nr_segments;
	uint64_t entry;			/* guest-physical, 64-bit */
	uint64_t end;			/* first byte behind all segments */
	bool has_header;		/* a bzImage: header is its set-up header */
	struct setup_header header;
};

/*
 * A bzImage with 64-bit entry, or a 64-bit ELF. 0; -EINVAL + apf_error: neither, or
 * malformed (the text names the field). Pure.
 */
int vmm_image_parse(const void *file, size_t len, struct vmm_image *out);

struct vmm_boot_args {
	const void *kernel;
	size_t kernel_len;
	size_t initrd_len;	/* 0: none */
	const char *cmdline;
	unsigned int cpus;
};

struct vmm_boot_entry {
	uint64_t rip;
	uint64_t boot_params;	/* guest-physical; goes into RSI */
	void *initrd;		/* where initrd_len bytes are to be put, or NULL */
};

/*
 * Put kernel, command line, boot_params, e820 map, ACPI tables, GDT and identity page
 * tables into RAM. 0, or -EINVAL/-ENOSPC + apf_error.
 */
int vmm_boot_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		  struct vmm_boot_entry *out);

#endif
