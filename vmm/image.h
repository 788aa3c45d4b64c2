/* SPDX-License-Identifier: MIT */
/*
 * Kernel images, as files that may be hostile: parsing is a pure function over their
 * bytes, and what it returns has been checked against overflow and against the
 * file's end; vmm_image_load checks it against the guest's memory.
 */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "ram.h"

struct vmm_segment {
	uint64_t gpa;
	uint64_t file_offset, file_len;
	uint64_t mem_len;	/* at least file_len; the rest is zero */
};

#define VMM_SEGMENTS_MAX	32u

/* What kernels of a machine may be. */
struct vmm_image_rules {
	uint16_t elf32, elf64;		/* machine numbers of ELF files; EM_NONE: there are none */
	uint64_t lowest;		/* no segment may be below */
};

struct vmm_image {
	const struct vmm_image_rules *rules;	/* set by who parses, before all else */
	struct vmm_segment segments[VMM_SEGMENTS_MAX];
	unsigned int nr_segments;
	uint64_t entry;			/* guest-physical */
	uint64_t end;			/* first byte behind all segments */
};

/* Set apf_error to "kernel image: WHAT (0xVALUE)"; returns -EINVAL. */
int vmm_image_bad(const char *what, uint64_t value);

/*
 * Add a segment of a file of len bytes. It may not be below what the rules say, nor
 * overlap another. 0, or -EINVAL + apf_error.
 */
int vmm_image_add(struct vmm_image *image, const struct vmm_segment *s, size_t len);

/*
 * Segments and entry of an ELF executable, 32 or 64 bits; *out must be all zero but for
 * its rules. 0; -EINVAL + apf_error: none, or malformed (the text names the field). Pure.
 */
int vmm_image_parse_elf(const void *file, size_t len, struct vmm_image *out);

/*
 * Copy the segments into RAM, which must be zero where their memory is longer than
 * their file. 0, or -ENOSPC + apf_error.
 */
int vmm_image_load(const struct vmm_ram *ram, const struct vmm_image *image, const void *file);

#endif
