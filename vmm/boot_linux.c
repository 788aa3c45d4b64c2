/* SPDX-License-Identifier: MIT */
/*
 * Booting by the 64-bit entry of the Linux boot protocol; a 64-bit ELF that is not
 * Linux gets the same: long mode, identity map of 4 GiB, RSI = boot_params.
 */
#include "boot_linux.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "acpi.h"
#include "machine_x86.h"

#define SETUP_HEADER_AT		0x1f1u
#define BOOT_FLAG		0xaa55u
#define HEADER_MAGIC		0x53726448u	/* "HdrS" */
#define VERSION_MIN		0x020cu		/* the first that names the 64-bit entry */
#define ENTRY_64		0x200u		/* behind the start of the protected-mode code */
#define LOADER_UNKNOWN		0xffu
#define SECTOR			512u
#define PAGE			4096ull
#define E820_RAM		1u
#define E820_RESERVED		2u
#define INITRD_MAX_OLD		0x37ffffffu

static int check_setup_header(const struct setup_header *h)
{
	if (h->boot_flag != BOOT_FLAG)
		return vmm_image_bad("wrong boot flag", h->boot_flag);
	if (h->version < VERSION_MIN)
		return vmm_image_bad("boot protocol is older than 2.12", h->version);
	if (!(h->loadflags & LOADED_HIGH))
		return vmm_image_bad("not a bzImage: loads low, loadflags", h->loadflags);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return vmm_image_bad("no 64-bit entry: a 32-bit kernel? xloadflags", h->xloadflags);
	if (h->pref_address % PAGE)
		return vmm_image_bad("preferred address is not page-aligned", h->pref_address);
	return 0;
}

static int parse_bzimage(const uint8_t *file, size_t len, struct vmm_linux_image *out)
{
	struct vmm_segment s = { 0 };
	struct setup_header *h = &out->header;
	size_t header_end;
	int err;

	if (len < SETUP_HEADER_AT + sizeof(*h))
		return vmm_image_bad("too short for a set-up header", len);
	/* How much of the header is there is its jump instruction's distance. */
	header_end = 0x202u + file[0x201];
	if (header_end > SETUP_HEADER_AT + sizeof(*h))
		header_end = SETUP_HEADER_AT + sizeof(*h);
	memcpy(h, file + SETUP_HEADER_AT, header_end - SETUP_HEADER_AT);
	err = check_setup_header(h);
	if (err)
		return err;
	s.file_offset = ((h->setup_sects ? h->setup_sects : 4u) + 1) * SECTOR;
	if (s.file_offset + ENTRY_64 >= len)
		return vmm_image_bad("ends before its protected-mode code, offset", s.file_offset);
	s.gpa = h->pref_address;
	s.file_len = len - s.file_offset;
	s.mem_len = h->init_size > s.file_len ? h->init_size : s.file_len;
	out->has_header = true;
	out->image.entry = s.gpa + ENTRY_64;
	return vmm_image_add(&out->image, &s, len);
}

int vmm_linux_parse(const void *file, size_t len, struct vmm_linux_image *out)
{
	const uint8_t *bytes = file;
	uint32_t magic;

	memset(out, 0, sizeof(*out));
	out->image.rules = &vmm_image_rules_x86;
	if (len >= SELFMAG && !memcmp(bytes, ELFMAG, SELFMAG)) {
		if (len > EI_CLASS && bytes[EI_CLASS] == ELFCLASS32)
			return apf_error_set(-EINVAL, "kernel image: a 32-bit ELF file without a multiboot "
					     "header in its first 8 KiB");
		return vmm_image_parse_elf(bytes, len, &out->image);
	}
	if (len < 0x206)
		return vmm_image_bad("too short for any kernel", len);
	memcpy(&magic, bytes + 0x202, sizeof(magic));
	if (magic == HEADER_MAGIC)
		return parse_bzimage(bytes, len, out);
	return apf_error_set(-EINVAL, "kernel image: neither a bzImage nor an ELF file, and without a "
			     "multiboot header in its first 8 KiB");
}

/* As high as the kernel can reach it, page-aligned, above the kernel. */
static int place_initrd(const struct vmm_ram *ram, const struct vmm_linux_image *kernel,
			struct vmm_boot_file *file, struct boot_params *bp)
{
	const size_t len = file->len;
	uint64_t top = ram->slots[0].size, max = INITRD_MAX_OLD, at;

	if (kernel->has_header && kernel->header.initrd_addr_max)
		max = kernel->header.initrd_addr_max;
	top = top < max + 1 ? top : max + 1;
	at = top > len ? (top - len) & ~(PAGE - 1) : 0;
	if (at < kernel->image.end || len > UINT32_MAX)
		return apf_error_set(-ENOSPC, "initrd of %zu bytes does not fit between the kernel's end at "
				     "0x%llx and 0x%llx", len, (unsigned long long)kernel->image.end,
				     (unsigned long long)top);
	bp->hdr.ramdisk_image = (uint32_t)at;
	bp->hdr.ramdisk_size = (uint32_t)len;
	file->where = vmm_ram_at(ram, at, len);
	return 0;
}

static int put_cmdline(const struct vmm_ram *ram, const struct vmm_linux_image *kernel,
		       const char *text, struct boot_params *bp)
{
	uint64_t max = CMDLINE_MAX - 1, len = strlen(text);

	if (kernel->has_header && kernel->header.cmdline_size && kernel->header.cmdline_size < max)
		max = kernel->header.cmdline_size;
	if (len > max)
		return apf_error_set(-EINVAL, "command line has %llu bytes; this kernel takes %llu",
				     (unsigned long long)len, (unsigned long long)max);
	memcpy(vmm_ram_at(ram, GPA_CMDLINE, len + 1), text, len + 1);
	bp->hdr.cmd_line_ptr = GPA_CMDLINE;
	bp->hdr.cmdline_size = (uint32_t)max;
	return 0;
}

static void add_e820(struct boot_params *bp, uint64_t from, uint64_t to, uint32_t type)
{
	bp->e820_table[bp->e820_entries++] = (struct boot_e820_entry){ from, to - from, type };
}

static void fill_e820(const struct vmm_ram *ram, struct boot_params *bp)
{
	add_e820(bp, 0, GPA_EBDA, E820_RAM);
	add_e820(bp, GPA_ACPI, GPA_ACPI_END, E820_RESERVED);
	add_e820(bp, GPA_ACPI_END, ram->slots[0].size, E820_RAM);
	if (ram->nr_slots > 1)
		add_e820(bp, ram->slots[1].gpa, ram->slots[1].gpa + ram->slots[1].size, E820_RAM);
}

/* Four descriptors; identity map of 4 GiB in 2 MiB pages. */
static void put_tables(const struct vmm_ram *ram)
{
	static const uint64_t gdt[4] = { 0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull };
	const uint64_t present_write = 3, huge = 1u << 7;
	uint64_t *pml4 = vmm_ram_at(ram, GPA_PAGE_TABLES, 6 * PAGE);
	uint64_t *pdpt = pml4 + 512, *pd = pml4 + 1024;

	memcpy(vmm_ram_at(ram, GPA_GDT, sizeof(gdt)), gdt, sizeof(gdt));
	pml4[0] = (GPA_PAGE_TABLES + PAGE) | present_write;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (GPA_PAGE_TABLES + (2 + i) * PAGE) | present_write;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | huge | present_write;
}

/*
 * Linux takes hardware-reduced ACPI without EFI to mean that only the BIOS can reset: it
 * goes to real mode and jumps to the reset vector. Code there: write the reset register.
 */
static void put_reset_code(const struct vmm_ram *ram)
{
	static const uint8_t code[] = {
		0xb0, RESET_VALUE,				/* mov al, RESET_VALUE */
		0xba, PORT_RESET & 0xff, PORT_RESET >> 8,	/* mov dx, PORT_RESET */
		0xee,						/* out dx, al */
		0xf4,						/* hlt */
	};

	memcpy(vmm_ram_at(ram, GPA_RESET_VECTOR, sizeof(code)), code, sizeof(code));
}

/* What the header of an ELF kernel would say; of a bzImage only what the loader owns. */
static void fill_header(const struct vmm_linux_image *kernel, struct setup_header *h)
{
	*h = kernel->header;
	h->type_of_loader = LOADER_UNKNOWN;
	h->setup_data = 0;
	h->boot_flag = BOOT_FLAG;
	h->header = HEADER_MAGIC;
	if (!kernel->has_header) {
		h->version = VERSION_MIN;
		h->loadflags = LOADED_HIGH;
		h->kernel_alignment = 1u << 21;
	}
}

int vmm_linux_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		   struct vmm_boot_entry *out)
{
	struct boot_params *bp = vmm_ram_at(ram, GPA_BOOT_PARAMS, sizeof(*bp));
	struct vmm_linux_image kernel;
	int err = vmm_linux_parse(args->kernel, args->kernel_len, &kernel);

	if (err)
		return err;
	if (args->nr_files > 1)
		return apf_error_set(-EINVAL, "only multiboot kernels take modules");
	if (!vmm_ram_at(ram, 0, 2 * GPA_KERNEL_MIN))
		return apf_error_set(-ENOSPC, "a guest needs at least 2 MiB of memory");
	err = vmm_image_load(ram, &kernel.image, args->kernel);
	if (err)
		return err;
	memset(bp, 0, sizeof(*bp));
	fill_header(&kernel, &bp->hdr);
	if (args->nr_files)
		err = place_initrd(ram, &kernel, args->files, bp);
	if (!err)
		err = put_cmdline(ram, &kernel, args->cmdline, bp);
	if (err)
		return err;
	fill_e820(ram, bp);
	put_tables(ram);
	put_reset_code(ram);
	bp->acpi_rsdp_addr = vmm_acpi_write(ram, args->cpus);
	*out = (struct vmm_boot_entry){ .long_mode = true, .pc = kernel.image.entry,
					.info = GPA_BOOT_PARAMS };
	return 0;
}
