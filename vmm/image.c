/* SPDX-License-Identifier: MIT */
/* Kernel images: segments, and ELF files; see image.h. */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <apf/error.h>

int vmm_image_bad(const char *what, uint64_t value)
{
	return apf_error_set(-EINVAL, "kernel image: %s (0x%llx)", what, (unsigned long long)value);
}

static const struct vmm_segment *overlapping(const struct vmm_image *image,
					     const struct vmm_segment *s)
{
	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct vmm_segment *other = &image->segments[i];

		if (s->gpa < other->gpa + other->mem_len && other->gpa < s->gpa + s->mem_len)
			return other;
	}
	return NULL;
}

int vmm_image_add(struct vmm_image *image, const struct vmm_segment *s, size_t len)
{
	if (image->nr_segments == VMM_SEGMENTS_MAX)
		return vmm_image_bad("too many segments", image->nr_segments);
	if (s->file_offset > len || s->file_len > len - s->file_offset)
		return vmm_image_bad("a segment ends behind the file's end, offset", s->file_offset);
	if (s->mem_len < s->file_len)
		return vmm_image_bad("a segment is longer in the file than in memory", s->file_len);
	if (s->gpa < image->rules->lowest)
		return vmm_image_bad("a segment is below the memory for kernels, address", s->gpa);
	if (s->mem_len > UINT64_MAX - s->gpa)
		return vmm_image_bad("a segment wraps around the address space", s->gpa);
	if (overlapping(image, s))
		return vmm_image_bad("two segments overlap, address", s->gpa);
	if (s->gpa + s->mem_len > image->end)
		image->end = s->gpa + s->mem_len;
	image->segments[image->nr_segments++] = *s;
	return 0;
}

/* The header of either class, in the terms of the wider one. False: too short. */
static bool read_header(const uint8_t *file, size_t len, Elf64_Ehdr *e)
{
	Elf32_Ehdr narrow;

	if (len < sizeof(narrow))
		return false;
	memcpy(&narrow, file, sizeof(narrow));
	if (narrow.e_ident[EI_CLASS] != ELFCLASS32) {
		if (len < sizeof(*e))
			return false;
		memcpy(e, file, sizeof(*e));
		return true;
	}
	*e = (Elf64_Ehdr){ .e_type = narrow.e_type, .e_machine = narrow.e_machine,
			   .e_entry = narrow.e_entry, .e_phoff = narrow.e_phoff,
			   .e_phentsize = narrow.e_phentsize, .e_phnum = narrow.e_phnum };
	memcpy(e->e_ident, narrow.e_ident, sizeof(e->e_ident));
	return true;
}

static size_t program_header_size(const Elf64_Ehdr *e)
{
	return e->e_ident[EI_CLASS] == ELFCLASS32 ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr);
}

static int check_header(const Elf64_Ehdr *e, size_t len, const struct vmm_image_rules *rules)
{
	const size_t size = program_header_size(e);
	const uint16_t machine = size == sizeof(Elf32_Phdr) ? rules->elf32 : rules->elf64;

	if (memcmp(e->e_ident, ELFMAG, SELFMAG))
		return vmm_image_bad("not an ELF file, first byte", e->e_ident[0]);
	if (e->e_ident[EI_CLASS] != ELFCLASS32 && e->e_ident[EI_CLASS] != ELFCLASS64)
		return vmm_image_bad("ELF, but neither 32-bit nor 64-bit, class", e->e_ident[EI_CLASS]);
	if (e->e_ident[EI_DATA] != ELFDATA2LSB)
		return vmm_image_bad("ELF, but not little-endian, data", e->e_ident[EI_DATA]);
	if (machine == EM_NONE || e->e_machine != machine)
		return vmm_image_bad("ELF of another processor, machine", e->e_machine);
	if (e->e_type != ET_EXEC && e->e_type != ET_DYN)
		return vmm_image_bad("ELF, but no executable, type", e->e_type);
	if (e->e_phentsize != size)
		return vmm_image_bad("ELF program headers of odd size", e->e_phentsize);
	if (e->e_phoff > len || e->e_phnum > (len - e->e_phoff) / size)
		return vmm_image_bad("ELF program headers end behind the file's end, offset", e->e_phoff);
	return 0;
}

static Elf64_Phdr program_header(const uint8_t *file, const Elf64_Ehdr *e, unsigned int i)
{
	const uint8_t *at = file + e->e_phoff + i * program_header_size(e);
	Elf32_Phdr narrow;
	Elf64_Phdr p;

	if (e->e_ident[EI_CLASS] == ELFCLASS64) {
		memcpy(&p, at, sizeof(p));
		return p;
	}
	memcpy(&narrow, at, sizeof(narrow));
	return (Elf64_Phdr){ .p_type = narrow.p_type, .p_offset = narrow.p_offset,
			     .p_vaddr = narrow.p_vaddr, .p_paddr = narrow.p_paddr,
			     .p_filesz = narrow.p_filesz, .p_memsz = narrow.p_memsz };
}

/* Executables name their entry by physical address (Linux) or by virtual address (others). */
static int find_entry(struct vmm_image *image, uint64_t entry,
		      const uint64_t *virtual_minus_physical)
{
	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct vmm_segment *s = &image->segments[i];
		uint64_t physical = entry - virtual_minus_physical[i];

		if (entry - s->gpa < s->mem_len)
			image->entry = entry;
		else if (physical - s->gpa < s->mem_len)
			image->entry = physical;
		else
			continue;
		return 0;
	}
	return vmm_image_bad("ELF entry is in no loaded segment", entry);
}

int vmm_image_parse_elf(const void *file, size_t len, struct vmm_image *out)
{
	uint64_t shift[VMM_SEGMENTS_MAX];
	Elf64_Ehdr e;
	int err;

	if (!read_header(file, len, &e))
		return vmm_image_bad("too short for an ELF header", len);
	err = check_header(&e, len, out->rules);
	for (unsigned int i = 0; !err && i < e.e_phnum; i++) {
		const Elf64_Phdr p = program_header(file, &e, i);
		const struct vmm_segment s = { p.p_paddr, p.p_offset, p.p_filesz, p.p_memsz };

		if (p.p_type != PT_LOAD || !p.p_memsz)
			continue;
		if (out->nr_segments < VMM_SEGMENTS_MAX)
			shift[out->nr_segments] = p.p_vaddr - p.p_paddr;
		err = vmm_image_add(out, &s, len);
	}
	return err ? err : find_entry(out, e.e_entry, shift);
}

int vmm_image_load(const struct vmm_ram *ram, const struct vmm_image *image, const void *file)
{
	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct vmm_segment *s = &image->segments[i];
		void *to = vmm_ram_at(ram, s->gpa, s->mem_len);

		if (!to)
			return apf_error_set(-ENOSPC, "kernel needs %llu KiB at 0x%llx; the guest's memory "
					     "is too small", (unsigned long long)s->mem_len >> 10,
					     (unsigned long long)s->gpa);
		memcpy(to, (const uint8_t *)file + s->file_offset, s->file_len);
	}
	return 0;
}
