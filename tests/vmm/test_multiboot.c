/* SPDX-License-Identifier: MIT */
/* Multiboot images, honest and malformed, and what the kernel finds in memory. */
#include "test_vmm.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>
#include <vmm/boot_multiboot.h>
#include <vmm/machine_x86.h>

#define FILE_LEN	16384u
#define MIB		(1ull << 20)
#define MAGIC		0x1badb002u
#define HAS_ADDRESSES	0x10000u

#define ELF_HEADER_AT	4096u	/* of the multiboot header in the ELF files */
#define FLAT_HEADER_AT	0x100u	/* and in the flat one */

static uint8_t file[FILE_LEN];
static struct vmm_image image;

static void put(size_t at, uint64_t value, size_t len)
{
	memcpy(file + at, &value, len);
}

static void put_header(size_t at, uint32_t flags)
{
	put(at, MAGIC, 4);
	put(at + 4, flags, 4);
	put(at + 8, -(MAGIC + flags), 4);
}

static void make_elf32(void)
{
	Elf32_Ehdr e = { .e_type = ET_EXEC, .e_machine = EM_386, .e_entry = 0xc0100010, .e_phoff = 64,
			 .e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 3 };
	const Elf32_Phdr p[3] = {
		{ .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 200, .p_memsz = 200,
		  .p_paddr = MIB, .p_vaddr = 0xc0100000 },
		{ .p_type = PT_LOAD, .p_offset = 8192, .p_filesz = 100, .p_memsz = 10000,
		  .p_paddr = MIB + 4096, .p_vaddr = 0xc0101000 },
		{ .p_type = PT_NOTE, .p_offset = UINT32_MAX, .p_filesz = 1 },
	};

	memset(file, 0xcc, sizeof(file));
	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS32;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &e, sizeof(e));
	memcpy(file + 64, p, sizeof(p));
	put_header(ELF_HEADER_AT, 3);
}

static void make_elf64(void)
{
	Elf64_Ehdr e = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_entry = 2 * MIB + 16,
			 .e_phoff = 64, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	const Elf64_Phdr p = { .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 200, .p_memsz = 8192,
			       .p_paddr = 2 * MIB, .p_vaddr = 2 * MIB };

	memset(file, 0xcc, sizeof(file));
	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &e, sizeof(e));
	memcpy(file + 64, &p, sizeof(p));
	put_header(ELF_HEADER_AT, 3);
}

/* Loaded from byte 0x80 of the file on. */
static void make_flat(void)
{
	memset(file, 0xcc, sizeof(file));
	put_header(FLAT_HEADER_AT, 3 | HAS_ADDRESSES);
	put(FLAT_HEADER_AT + 12, MIB + 0x80, 4);	/* header_addr */
	put(FLAT_HEADER_AT + 16, MIB, 4);		/* load_addr */
	put(FLAT_HEADER_AT + 20, MIB + 0x1000, 4);	/* load_end_addr */
	put(FLAT_HEADER_AT + 24, MIB + 0x3000, 4);	/* bss_end_addr */
	put(FLAT_HEADER_AT + 28, MIB + 0x90, 4);	/* entry_addr */
}

static void test_header_is_recognized_where_the_specification_has_it(void **state)
{
	static const struct {
		size_t at;
		uint32_t spoil;		/* added to the checksum */
		bool found;
	} cases[] = {
		{ 0, 0, true }, { 4, 0, true }, { 8192 - 12, 0, true },
		{ 2, 0, false }, { 8192 - 8, 0, false }, { 8192, 0, false }, { 64, 1, false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		memset(file, 0xcc, sizeof(file));
		put_header(cases[i].at, 0);
		file[cases[i].at + 8] += cases[i].spoil;
		assert_int_equal(vmm_multiboot_recognize(file, FILE_LEN), cases[i].found);
	}
	put_header(0, 0);
	assert_true(vmm_multiboot_recognize(file, 12));
	assert_false(vmm_multiboot_recognize(file, 11));
	assert_false(vmm_multiboot_recognize(file, 0));
}

static void test_elf32_segments_go_to_their_physical_addresses(void **state)
{
	make_elf32();
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.nr_segments, 2);
	assert_int_equal(image.segments[1].gpa, MIB + 4096);
	assert_int_equal(image.segments[1].file_offset, 8192);
	assert_int_equal(image.segments[1].file_len, 100);
	assert_int_equal(image.segments[1].mem_len, 10000);
	assert_int_equal(image.entry, MIB + 16);		/* told by virtual address */
	assert_int_equal(image.end, MIB + 4096 + 10000);
	put(offsetof(Elf32_Ehdr, e_entry), MIB + 32, 4);	/* or by physical address */
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.entry, MIB + 32);
}

static void test_elf64_is_taken_too(void **state)
{
	make_elf64();
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.nr_segments, 1);
	assert_int_equal(image.segments[0].gpa, 2 * MIB);
	assert_int_equal(image.entry, 2 * MIB + 16);
}

static void test_address_fields_replace_a_file_format(void **state)
{
	make_flat();
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.nr_segments, 1);
	assert_int_equal(image.segments[0].gpa, MIB);
	assert_int_equal(image.segments[0].file_offset, 0x80);
	assert_int_equal(image.segments[0].file_len, 0x1000);
	assert_int_equal(image.segments[0].mem_len, 0x3000);
	assert_int_equal(image.entry, MIB + 0x90);

	put(FLAT_HEADER_AT + 20, 0, 4);		/* no load_end_addr: all of the file */
	put(FLAT_HEADER_AT + 24, 0, 4);		/* no bss_end_addr: no bss */
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.segments[0].file_len, FILE_LEN - 0x80);
	assert_int_equal(image.segments[0].mem_len, FILE_LEN - 0x80);
}

static void test_address_fields_come_before_elf_headers(void **state)
{
	make_elf32();
	put_header(ELF_HEADER_AT, HAS_ADDRESSES);
	put(ELF_HEADER_AT + 12, 4 * MIB, 4);
	put(ELF_HEADER_AT + 16, 4 * MIB, 4);
	put(ELF_HEADER_AT + 20, 4 * MIB + 100, 4);
	put(ELF_HEADER_AT + 24, 4 * MIB + 100, 4);
	put(ELF_HEADER_AT + 28, 4 * MIB + 32, 4);
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), 0);
	assert_int_equal(image.nr_segments, 1);
	assert_int_equal(image.segments[0].gpa, 4 * MIB);
	assert_int_equal(image.entry, 4 * MIB + 32);
}

static void test_of_what_a_header_demands_only_the_known_is_accepted(void **state)
{
	for (unsigned int bit = 0; bit < 32; bit++) {
		const bool refused = bit >= 3 && bit < 16;

		if (1u << bit == HAS_ADDRESSES)
			continue;
		make_elf32();
		put_header(ELF_HEADER_AT, 1u << bit);
		assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), refused ? -EINVAL : 0);
		if (refused)
			assert_non_null(strstr(apf_error(), "demands"));
	}
}

static void check_refused(const char *text)
{
	assert_int_equal(vmm_multiboot_parse(file, FILE_LEN, &image), -EINVAL);
	if (!strstr(apf_error(), text))
		fail_msg("\"%s\" does not say \"%s\"", apf_error(), text);
}

static void test_address_fields_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		size_t field;
		uint32_t value;
		const char *text;
	} cases[] = {
		{ 12, MIB - 4, "header_addr is below" },
		{ 12, MIB + FLAT_HEADER_AT + 4, "before the file" },
		{ 12, UINT32_MAX, "before the file" },
		{ 16, 0, "before the file" },
		{ 16, MIB + 0x100, "header_addr is below" },
		{ 20, MIB - 1, "load_end_addr is below" },
		{ 20, MIB + FILE_LEN, "bss_end_addr" },
		{ 24, MIB + 0xfff, "bss_end_addr" },
		{ 24, 1, "bss_end_addr" },
		{ 28, MIB - 1, "entry_addr" },
		{ 28, MIB + 0x3000, "entry_addr" },
		{ 28, 0, "entry_addr" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		make_flat();
		put(FLAT_HEADER_AT + cases[i].field, cases[i].value, 4);
		check_refused(cases[i].text);
	}
	make_flat();
	put(FLAT_HEADER_AT + 20, MIB + FILE_LEN, 4);
	put(FLAT_HEADER_AT + 24, 0, 4);
	check_refused("file's end");
	make_flat();
	put(FLAT_HEADER_AT + 12, 0x10080, 4);
	put(FLAT_HEADER_AT + 16, 0x10000, 4);
	put(FLAT_HEADER_AT + 20, 0x11000, 4);
	check_refused("segment is below");
	memset(file, 0, sizeof(file));
	put_header(8192 - 28, HAS_ADDRESSES);
	check_refused("cut off");
}

static void test_elf32_fields_that_make_no_sense_are_refused(void **state)
{
	const size_t ph = 64;
	const struct {
		size_t at, len;
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 0, 1, 0, "not an ELF" },
		{ EI_CLASS, 1, 0, "class" },
		{ EI_DATA, 1, ELFDATA2MSB, "little-endian" },
		{ offsetof(Elf32_Ehdr, e_machine), 2, EM_X86_64, "processor" },
		{ offsetof(Elf32_Ehdr, e_type), 2, ET_REL, "executable" },
		{ offsetof(Elf32_Ehdr, e_phentsize), 2, sizeof(Elf64_Phdr), "odd size" },
		{ offsetof(Elf32_Ehdr, e_phnum), 2, 0xffff, "program headers" },
		{ offsetof(Elf32_Ehdr, e_phnum), 2, 0, "entry" },
		{ offsetof(Elf32_Ehdr, e_phoff), 4, UINT32_MAX, "program headers" },
		{ offsetof(Elf32_Ehdr, e_entry), 4, 0, "entry" },
		{ ph + offsetof(Elf32_Phdr, p_offset), 4, FILE_LEN, "file's end" },
		{ ph + offsetof(Elf32_Phdr, p_filesz), 4, UINT32_MAX, "file's end" },
		{ ph + offsetof(Elf32_Phdr, p_memsz), 4, 199, "longer" },
		{ ph + offsetof(Elf32_Phdr, p_paddr), 4, MIB - 1, "segment is below" },
		{ ph + offsetof(Elf32_Phdr, p_paddr), 4, MIB + 4096 - 199, "overlap" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		make_elf32();
		put(cases[i].at, cases[i].value, cases[i].len);
		check_refused(cases[i].text);
	}
}

static void test_elf64_entry_must_be_reachable_without_paging(void **state)
{
	make_elf64();
	put(64 + offsetof(Elf64_Phdr, p_paddr), 5ull << 30, 8);
	put(offsetof(Elf64_Ehdr, e_entry), (5ull << 30) + 16, 8);
	check_refused("4 GiB");
}

static void test_images_cut_anywhere_do_not_read_behind_their_end(void **state)
{
	static void (*const makers[])(void) = { make_elf32, make_elf64, make_flat };

	for (size_t i = 0; i < COUNT(makers); i++) {
		makers[i]();
		for (size_t len = 0; len < 8400; len++) {
			void *copy = malloc(len + 1);

			memcpy(copy, file, len);
			vmm_multiboot_recognize(copy, len);
			vmm_multiboot_parse(copy, len, &image);
			free(copy);
		}
	}
}

/* --- what the kernel finds --- */

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};

struct map_entry {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

static struct vmm_ram make_ram(uint64_t size)
{
	struct vmm_ram ram;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(base, MAP_FAILED);
	vmm_ram_init(&ram, &vmm_ram_x86, base, size);
	return ram;
}

static void drop_ram(struct vmm_ram *ram)
{
	munmap(ram->base, ram->slots[0].size + (ram->nr_slots > 1 ? ram->slots[1].size : 0));
}

static int load(const struct vmm_ram *ram, const char *cmdline, struct vmm_boot_file *files,
		unsigned int nr_files, struct vmm_boot_entry *e)
{
	const struct vmm_boot_args args = { .kernel = file, .kernel_len = FILE_LEN, .files = files,
					    .nr_files = nr_files, .cmdline = cmdline, .cpus = 2 };

	return vmm_multiboot_load(ram, &args, e);
}

static const struct info *load_elf32(const struct vmm_ram *ram, const char *cmdline,
				     struct vmm_boot_file *files, unsigned int nr_files)
{
	struct vmm_boot_entry e;

	make_elf32();
	assert_int_equal(load(ram, cmdline, files, nr_files, &e), 0);
	assert_false(e.long_mode);
	assert_int_equal(e.pc, MIB + 16);
	return vmm_ram_at(ram, e.info, sizeof(struct info));
}

static const char *text_at(const struct vmm_ram *ram, uint32_t at)
{
	return vmm_ram_at(ram, at, 64);
}

static void test_kernel_is_in_memory_and_its_bss_is_zero(void **state)
{
	static const uint8_t zero[10000 - 100];
	struct vmm_ram ram = make_ram(4 * MIB);

	load_elf32(&ram, "", NULL, 0);
	assert_memory_equal(vmm_ram_at(&ram, MIB, 200), file + 4096, 200);
	assert_memory_equal(vmm_ram_at(&ram, MIB + 4096, 100), file + 8192, 100);
	assert_memory_equal(vmm_ram_at(&ram, MIB + 4096 + 100, sizeof(zero)), zero, sizeof(zero));
	drop_ram(&ram);
}

static void test_information_has_command_line_name_and_memory_sizes(void **state)
{
	struct vmm_ram ram = make_ram(16 * MIB);
	const struct info *info = load_elf32(&ram, "one=1 two", NULL, 0);

	assert_int_equal(info->flags, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
	assert_int_equal(info->mem_lower, 639);
	assert_int_equal(info->mem_upper, 15 * 1024);
	assert_int_equal(info->mods_count, 0);
	assert_string_equal(text_at(&ram, info->cmdline), "one=1 two");
	assert_string_equal(text_at(&ram, info->loader_name), "libapf");
	assert_memory_equal(vmm_ram_at(&ram, GPA_ACPI, 8), "RSD PTR ", 8);
	drop_ram(&ram);
}

static void test_memory_map_has_all_ram_and_not_what_is_taken(void **state)
{
	static const struct {
		uint64_t base, end;
		uint32_t type;
	} expected[] = {
		{ 0, GPA_EBDA, 1 }, { GPA_ACPI, MIB, 2 }, { MIB, RAM_LOW_MAX, 1 },
		{ RAM_HIGH_START, 6ull << 30, 1 },
	};
	struct vmm_ram ram = make_ram(5ull << 30);
	const struct info *info = load_elf32(&ram, "", NULL, 0);
	const struct map_entry *map = vmm_ram_at(&ram, info->mmap_addr, info->mmap_length);

	assert_int_equal(info->mmap_length, COUNT(expected) * sizeof(*map));
	for (size_t i = 0; i < COUNT(expected); i++) {
		assert_int_equal(map[i].size, 20);
		assert_int_equal(map[i].base, expected[i].base);
		assert_int_equal(map[i].base + map[i].length, expected[i].end);
		assert_int_equal(map[i].type, expected[i].type);
	}
	drop_ram(&ram);
}

static void test_modules_are_page_aligned_behind_the_kernel(void **state)
{
	struct vmm_boot_file files[] = {
		{ .len = 5000, .text = "first" }, { .len = 0, .text = "" }, { .len = 1, .text = "third x=1" },
	};
	struct vmm_ram ram = make_ram(4 * MIB);
	const struct info *info = load_elf32(&ram, "", files, COUNT(files));
	const uint32_t *m = vmm_ram_at(&ram, info->mods_addr, COUNT(files) * 16);
	uint32_t end = MIB + 4096 + 10000;	/* the kernel's */

	assert_int_equal(info->mods_count, COUNT(files));
	for (size_t i = 0; i < COUNT(files); i++, m += 4) {
		assert_int_equal(m[0] % 4096, 0);
		assert_in_range(m[0], end, end + 4095);
		assert_int_equal(m[1], m[0] + files[i].len);
		assert_ptr_equal(files[i].where, vmm_ram_at(&ram, m[0], files[i].len));
		assert_string_equal(text_at(&ram, m[2]), files[i].text);
		end = m[1];
	}
	drop_ram(&ram);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	static char long_line[0x90000];
	struct vmm_boot_file module = { .len = 4 * MIB, .text = "big" };
	struct vmm_ram ram = make_ram(4 * MIB);
	struct vmm_boot_entry e;

	make_elf32();
	assert_int_equal(load(&ram, "", &module, 1, &e), -ENOSPC);
	assert_non_null(strstr(apf_error(), "module 'big'"));
	memset(long_line, 'x', sizeof(long_line) - 1);
	assert_int_equal(load(&ram, long_line, NULL, 0, &e), -ENOSPC);
	assert_non_null(strstr(apf_error(), "too long"));
	put(64 + sizeof(Elf32_Phdr) + offsetof(Elf32_Phdr, p_memsz), 0x80000000, 4);
	assert_int_equal(load(&ram, "", NULL, 0, &e), -ENOSPC);
	assert_non_null(strstr(apf_error(), "too small"));
	drop_ram(&ram);
	ram = make_ram(MIB);
	assert_int_equal(load(&ram, "", NULL, 0, &e), -ENOSPC);
	drop_ram(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_is_recognized_where_the_specification_has_it),
		cmocka_unit_test(test_elf32_segments_go_to_their_physical_addresses),
		cmocka_unit_test(test_elf64_is_taken_too),
		cmocka_unit_test(test_address_fields_replace_a_file_format),
		cmocka_unit_test(test_address_fields_come_before_elf_headers),
		cmocka_unit_test(test_of_what_a_header_demands_only_the_known_is_accepted),
		cmocka_unit_test(test_address_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_elf32_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_elf64_entry_must_be_reachable_without_paging),
		cmocka_unit_test(test_images_cut_anywhere_do_not_read_behind_their_end),
		cmocka_unit_test(test_kernel_is_in_memory_and_its_bss_is_zero),
		cmocka_unit_test(test_information_has_command_line_name_and_memory_sizes),
		cmocka_unit_test(test_memory_map_has_all_ram_and_not_what_is_taken),
		cmocka_unit_test(test_modules_are_page_aligned_behind_the_kernel),
		cmocka_unit_test(test_what_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
