/* SPDX-License-Identifier: MIT */
/* The arm64 boot protocol of Linux; see boot_arm64.h. */
#include "boot_arm64.h"

#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "device_tree.h"
#include "machine_arm64.h"

#define MIB			(1ull << 20)
#define FDT_ALIGN		0x10000ull	/* Linux: within one 2 MiB block */
#define FDT_MAX			0x10000u
#define IMAGE_MAGIC		"ARM\x64"
#define FLAG_BIG_ENDIAN		1u
#define OLD_TEXT_OFFSET		0x80000u	/* before Linux 3.17 the size field is 0 */

/* Linux's Image starts so; Documentation/arch/arm64/booting.rst. */
struct image_header {
	uint32_t code[2];
	uint64_t text_offset;		/* from a 2 MiB boundary */
	uint64_t image_size;		/* in memory */
	uint64_t flags, reserved[3];
	char magic[4];
	uint32_t pe_offset;
};

/* An EFI application that unpacks the kernel inside it starts so. */
struct zboot_header {
	char mz[4], zimg[4];
	uint32_t payload, payload_size, reserved[2];
	char compression[32];
};

/* What Linux's build calls a compression, and who undoes it. */
static const struct {
	const char *name, *program;
} compressions[] = {
	{ "gzip", "gzip" }, { "zstd22", "zstd" }, { "zstd", "zstd" }, { "xzkern", "xz" },
	{ "lzma", "xz" }, { "lz4", "lz4" }, { "lzo", "lzop" },
};

static int refuse_zboot(const struct zboot_header *h)
{
	for (size_t i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
		if (strncmp(h->compression, compressions[i].name, sizeof(h->compression)))
			continue;
		return apf_error_set(-EINVAL, "kernel image: compressed, in an EFI application (zboot); "
				     "unpack it: tail -c +%llu FILE | head -c %u | %s -dc >Image",
				     h->payload + 1ull, h->payload_size, compressions[i].program);
	}
	return apf_error_set(-EINVAL, "kernel image: compressed, in an EFI application (zboot), in a way "
			     "that is not known; take the kernel's uncompressed Image");
}

/* Why a file is no Image. */
static int refuse(const uint8_t *file, size_t len)
{
	struct zboot_header h;

	if (len >= 2 && file[0] == 0x1f && file[1] == 0x8b)
		return apf_error_set(-EINVAL, "kernel image: compressed; unpack it: gzip -dc FILE >Image");
	if (len >= sizeof(h)) {
		memcpy(&h, file, sizeof(h));
		if (!memcmp(h.mz, "MZ", 2) && !memcmp(h.zimg, "zimg", 4))
			return refuse_zboot(&h);
	}
	return apf_error_set(-EINVAL, "kernel image: neither an arm64 Image nor an ELF file");
}

static int parse_image(const struct image_header *h, size_t len, struct vmm_image *out)
{
	struct vmm_segment s = { .file_len = len, .mem_len = h->image_size };

	if (h->flags & FLAG_BIG_ENDIAN)
		return vmm_image_bad("big-endian kernel, flags", h->flags);
	if (h->text_offset >= 2 * MIB)
		return vmm_image_bad("text offset is not below 2 MiB", h->text_offset);
	s.gpa = GPA_RAM + (h->image_size ? h->text_offset : OLD_TEXT_OFFSET);
	if (s.mem_len < s.file_len)
		s.mem_len = s.file_len;
	out->entry = s.gpa;
	return vmm_image_add(out, &s, len);
}

int vmm_arm64_parse(const void *file, size_t len, struct vmm_image *out)
{
	struct image_header h;

	memset(out, 0, sizeof(*out));
	out->rules = &vmm_image_rules_arm64;
	if (len >= SELFMAG && !memcmp(file, ELFMAG, SELFMAG))
		return vmm_image_parse_elf(file, len, out);
	if (len < sizeof(h))
		return refuse(file, len);
	memcpy(&h, file, sizeof(h));
	return memcmp(h.magic, IMAGE_MAGIC, sizeof(h.magic)) ? refuse(file, len)
	       : parse_image(&h, len, out);
}

static int place_initrd(const struct vmm_ram *ram, struct vmm_boot_file *file, uint64_t at)
{
	file->where = vmm_ram_at(ram, at, file->len);
	if (!file->where)
		return apf_error_set(-ENOSPC, "initrd of %zu bytes does not fit behind the kernel, at 0x%llx; "
				     "the guest's memory is too small", file->len,
				     (unsigned long long)at);
	return 0;
}

int vmm_arm64_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		   struct vmm_boot_entry *out)
{
	struct vmm_machine_info info = { .ram = GPA_RAM, .ram_size = ram->slots[0].size,
				     .cpus = args->cpus, .cmdline = args->cmdline };
	struct vmm_image image;
	uint64_t fdt;
	void *tree;
	int err = vmm_arm64_parse(args->kernel, args->kernel_len, &image);

	if (err)
		return err;
	if (args->nr_files > 1)
		return apf_error_set(-EINVAL, "an arm64 kernel takes one initrd and no modules");
	err = vmm_image_load(ram, &image, args->kernel);
	if (err)
		return err;
	/* The kernel fits into RAM, so that this does not overflow. */
	fdt = (image.end + FDT_ALIGN - 1) & ~(FDT_ALIGN - 1);
	tree = vmm_ram_at(ram, fdt, FDT_MAX);
	if (!tree)
		return apf_error_set(-ENOSPC, "device tree does not fit behind the kernel, at 0x%llx; the "
				     "guest's memory is too small", (unsigned long long)fdt);
	if (args->nr_files) {
		info.initrd = fdt + FDT_MAX;
		info.initrd_size = args->files->len;
		err = place_initrd(ram, args->files, info.initrd);
	}
	if (!err)
		err = vmm_device_tree_write(tree, FDT_MAX, &info);
	*out = (struct vmm_boot_entry){ .pc = image.entry, .info = fdt };
	return err;
}
