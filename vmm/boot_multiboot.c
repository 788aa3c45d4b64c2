/* SPDX-License-Identifier: MIT */
/* The multiboot specification, version 1; see boot_multiboot.h. */
#include "boot_multiboot.h"

#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "acpi.h"
#include "machine_x86.h"

#define HEADER_MAGIC		0x1badb002u
#define HEADER_WITHIN		8192u
#define PAGE			4096ull
#define KIB			1024u
#define BELOW_4G(address)	((address) <= UINT32_MAX)

/* Flags of the header. Of the first 16 all must be understood. */
#define WANTS_PAGE_ALIGNED	(1u << 0)	/* modules always are */
#define WANTS_MEMORY		(1u << 1)	/* always told */
#define WANTS_VIDEO		(1u << 2)	/* this PC has none, and tells of none */
#define WANTS_KNOWN		(WANTS_PAGE_ALIGNED | WANTS_MEMORY | WANTS_VIDEO)
#define WANTS_MANDATORY		0xffffu
#define HAS_ADDRESSES		(1u << 16)

/* Flags of the information: which of its fields are there. */
#define INFO_MEMORY		(1u << 0)
#define INFO_CMDLINE		(1u << 2)
#define INFO_MODULES		(1u << 3)
#define INFO_MAP		(1u << 6)
#define INFO_LOADER_NAME	(1u << 9)

#define MAP_RAM			1u
#define MAP_RESERVED		2u

struct header {
	uint32_t magic, flags, checksum;
	/* With HAS_ADDRESSES: physical addresses, instead of an executable format's. */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

#define HEADER_MIN	offsetof(struct header, header_addr)

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
	uint32_t rest[12];	/* APM and video, which are not there */
};

struct map_entry {
	uint32_t size;		/* of the rest */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

struct module {
	uint32_t start, end, string, reserved;
};

/* --- parsing --- */

/* Where the header is, or -1. */
static long find_header(const uint8_t *file, size_t len, struct header *h)
{
	const size_t within = len < HEADER_WITHIN ? len : HEADER_WITHIN;

	memset(h, 0, sizeof(*h));
	for (size_t at = 0; at + HEADER_MIN <= within; at += sizeof(h->magic)) {
		memcpy(h, file + at, HEADER_MIN);
		if (h->magic != HEADER_MAGIC || h->magic + h->flags + h->checksum)
			continue;
		if (at + sizeof(*h) <= within)
			memcpy(h, file + at, sizeof(*h));
		return (long)at;
	}
	return -1;
}

bool vmm_multiboot_recognize(const void *file, size_t len)
{
	struct header h;

	return find_header(file, len, &h) >= 0;
}

/* The header knows its own address, and so where in the file each address is. */
static int parse_addresses(const struct header *h, uint64_t at, size_t len, struct vmm_image *out)
{
	struct vmm_segment s = { .gpa = h->load_addr };
	int err;

	if (at + sizeof(*h) > HEADER_WITHIN || at + sizeof(*h) > len)
		return vmm_image_bad("multiboot header's address fields are cut off, offset", at);
	if (h->header_addr < h->load_addr)
		return vmm_image_bad("multiboot header_addr is below load_addr", h->header_addr);
	if (h->header_addr - h->load_addr > at)
		return vmm_image_bad("multiboot load_addr is before the file's start", h->load_addr);
	s.file_offset = at - (h->header_addr - h->load_addr);
	if (h->load_end_addr && h->load_end_addr < h->load_addr)
		return vmm_image_bad("multiboot load_end_addr is below load_addr", h->load_end_addr);
	s.file_len = h->load_end_addr ? h->load_end_addr - h->load_addr : len - s.file_offset;
	if (h->bss_end_addr && h->bss_end_addr < s.gpa + s.file_len)
		return vmm_image_bad("multiboot bss_end_addr is before the data's end", h->bss_end_addr);
	s.mem_len = h->bss_end_addr ? h->bss_end_addr - h->load_addr : s.file_len;
	err = vmm_image_add(out, &s, len);
	if (err)
		return err;
	if (h->entry_addr - s.gpa >= s.mem_len)
		return vmm_image_bad("multiboot entry_addr is outside of what is loaded", h->entry_addr);
	out->entry = h->entry_addr;
	return 0;
}

int vmm_multiboot_parse(const void *file, size_t len, struct vmm_image *out)
{
	struct header h;
	const long at = find_header(file, len, &h);
	int err;

	memset(out, 0, sizeof(*out));
	out->rules = &vmm_image_rules_x86;
	if (at < 0)
		return vmm_image_bad("no multiboot header in the first 8 KiB of its bytes", len);
	if (h.flags & WANTS_MANDATORY & ~WANTS_KNOWN)
		return vmm_image_bad("multiboot header demands what is not offered, flags", h.flags);
	err = h.flags & HAS_ADDRESSES ? parse_addresses(&h, (uint64_t)at, len, out)
	      : vmm_image_parse_elf(file, len, out);
	if (!err && !BELOW_4G(out->entry))
		return vmm_image_bad("multiboot entry is not below 4 GiB", out->entry);
	return err;
}

/* --- loading --- */

/* Conventional memory, filled from GPA_MULTIBOOT on. */
struct room {
	const struct vmm_ram *ram;
	uint32_t next;
};

/* Room for len bytes; NULL + apf_error if there is none. */
static void *take(struct room *room, size_t len, uint32_t *at)
{
	*at = room->next;
	if (len > GPA_EBDA - room->next) {
		apf_error_set(-ENOSPC, "command line and module texts are too long: no room for %zu bytes "
			      "at 0x%x", len, *at);
		return NULL;
	}
	room->next += (uint32_t)((len + 7) & ~7ull);
	return vmm_ram_at(room->ram, *at, len);
}

static int put(struct room *room, const void *bytes, size_t len, uint32_t *at)
{
	void *to = take(room, len, at);

	if (!to)
		return -ENOSPC;
	memcpy(to, bytes, len);
	return 0;
}

static int put_text(struct room *room, const char *text, uint32_t *at)
{
	return put(room, text, strlen(text) + 1, at);
}

static struct map_entry map_entry(uint64_t from, uint64_t to, uint32_t type)
{
	return (struct map_entry){ .size = sizeof(struct map_entry) - sizeof(uint32_t),
				   .base = from, .length = to - from, .type = type };
}

static int put_map(struct room *room, struct info *info)
{
	const struct apf_kvm_slot *slots = room->ram->slots;
	struct map_entry map[4];
	unsigned int n = 0;

	map[n++] = map_entry(0, GPA_EBDA, MAP_RAM);
	map[n++] = map_entry(GPA_ACPI, GPA_ACPI_END, MAP_RESERVED);
	map[n++] = map_entry(GPA_ACPI_END, slots[0].size, MAP_RAM);
	if (room->ram->nr_slots > 1)
		map[n++] = map_entry(slots[1].gpa, slots[1].gpa + slots[1].size, MAP_RAM);
	info->flags |= INFO_MEMORY | INFO_MAP;
	info->mem_lower = GPA_EBDA / KIB;
	info->mem_upper = (uint32_t)((slots[0].size - GPA_ACPI_END) / KIB);
	info->mmap_length = n * (uint32_t)sizeof(map[0]);
	return put(room, map, info->mmap_length, &info->mmap_addr);
}

/* Moves *at behind the module, which is page-aligned. */
static int place_module(struct room *room, struct vmm_boot_file *f, uint64_t *at, struct module *m)
{
	const uint64_t start = (*at + PAGE - 1) & ~(PAGE - 1);

	f->where = BELOW_4G(start) ? vmm_ram_at(room->ram, start, f->len) : NULL;
	if (!f->where)
		return apf_error_set(-ENOSPC, "module '%s' of %zu bytes does not fit at 0x%llx; the "
				     "guest's memory is too small", f->text, f->len,
				     (unsigned long long)start);
	*at = start + f->len;
	m->start = (uint32_t)start;
	m->end = (uint32_t)*at;
	return put_text(room, f->text, &m->string);
}

/* Right behind the kernel, where kernels have to expect them anyway. */
static int place_modules(struct room *room, const struct vmm_image *image,
			 const struct vmm_boot_args *args, struct info *info)
{
	struct module *modules = take(room, args->nr_files * sizeof(*modules), &info->mods_addr);
	uint64_t at = image->end;
	int err = modules ? 0 : -ENOSPC;

	for (unsigned int i = 0; !err && i < args->nr_files; i++)
		err = place_module(room, &args->files[i], &at, &modules[i]);
	info->mods_count = args->nr_files;
	info->flags |= INFO_MODULES;
	return err;
}

/* Descriptors as other loaders leave them, for kernels that trust them for a while. */
static void put_gdt(const struct vmm_ram *ram)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull };

	memcpy(vmm_ram_at(ram, GPA_GDT, sizeof(gdt)), gdt, sizeof(gdt));
}

int vmm_multiboot_load(const struct vmm_ram *ram, const struct vmm_boot_args *args,
		       struct vmm_boot_entry *out)
{
	struct room room = { .ram = ram, .next = GPA_MULTIBOOT + sizeof(struct info) };
	struct info info = { 0 };
	struct vmm_image image;
	int err = vmm_multiboot_parse(args->kernel, args->kernel_len, &image);

	if (err)
		return err;
	if (!vmm_ram_at(ram, 0, 2 * GPA_KERNEL_MIN))
		return apf_error_set(-ENOSPC, "a guest needs at least 2 MiB of memory");
	err = vmm_image_load(ram, &image, args->kernel);
	if (!err)
		err = put_map(&room, &info);
	if (!err)
		err = put_text(&room, "libapf", &info.loader_name);
	if (!err)
		err = place_modules(&room, &image, args, &info);
	if (!err)
		err = put_text(&room, args->cmdline, &info.cmdline);
	if (err)
		return err;
	info.flags |= INFO_LOADER_NAME | INFO_CMDLINE;
	memcpy(vmm_ram_at(ram, GPA_MULTIBOOT, sizeof(info)), &info, sizeof(info));
	put_gdt(ram);
	vmm_acpi_write(ram, args->cpus);
	*out = (struct vmm_boot_entry){ .pc = image.entry, .info = GPA_MULTIBOOT };
	return 0;
}
