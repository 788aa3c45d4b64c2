/* SPDX-License-Identifier: MIT */
/* Kernel images, honest and malformed, and what the VMM puts beside them into memory. */
#include "test_vmm.h"

#include <errno.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>
#include <vmm/acpi.h>
#include <vmm/boot_linux.h>
#include <vmm/machine_x86.h>
#include <vmm/ram.h>

#define FILE_LEN	65536u
#define MIB		(1ull << 20)

static uint8_t file[FILE_LEN];
static struct vmm_linux_image parsed;

static void put(size_t at, uint64_t value, size_t len)
{
	memcpy(file + at, &value, len);
}

static void make_bzimage(void)
{
	memset(file, 0, sizeof(file));
	put(0x1f1, 3, 1);			/* setup_sects */
	put(0x1fe, 0xaa55, 2);
	put(0x200, 0x6aeb, 2);			/* jmp: the header is this long */
	put(0x202, 0x53726448, 4);
	put(0x206, 0x20f, 2);			/* version */
	put(0x211, 1, 1);			/* loadflags: high */
	put(0x22c, 0x7fffffff, 4);		/* initrd_addr_max */
	put(0x230, 2 * MIB, 4);			/* kernel_alignment */
	put(0x234, 1, 1);			/* relocatable */
	put(0x236, 1, 2);			/* xloadflags: 64-bit entry */
	put(0x238, 2047, 4);			/* cmdline_size */
	put(0x258, 16 * MIB, 8);		/* pref_address */
	put(0x260, 4 * MIB, 4);			/* init_size */
}

static void make_elf(void)
{
	Elf64_Ehdr e = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_entry = 2 * MIB + 0x10,
			 .e_phoff = 64, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 };
	Elf64_Phdr p[2] = {
		{ .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 100, .p_memsz = 8192,
		  .p_paddr = 2 * MIB, .p_vaddr = 2 * MIB },
		{ .p_type = PT_NOTE, .p_offset = 4096, .p_filesz = 1, .p_memsz = 1,
		  .p_paddr = 2 * MIB + 8191 },
	};

	memset(file, 0, sizeof(file));
	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &e, sizeof(e));
	memcpy(file + 64, p, sizeof(p));
	memset(file + 4096, 0xcc, 100);
}

static void test_bzimage_loads_at_its_preferred_address(void **state)
{
	make_bzimage();
	assert_int_equal(vmm_linux_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.image.nr_segments, 1);
	assert_int_equal(parsed.image.segments[0].gpa, 16 * MIB);
	assert_int_equal(parsed.image.segments[0].file_offset, 4 * 512);
	assert_int_equal(parsed.image.segments[0].mem_len, 4 * MIB);
	assert_int_equal(parsed.image.entry, 16 * MIB + 0x200);
}

static void test_bzimage_fields_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 0x1fe, 2, 0, "boot flag" },
		{ 0x201, 1, 0, "older" },			/* the header ends before its version */
		{ 0x206, 2, 0x20b, "older" },
		{ 0x211, 1, 0, "loads low" },
		{ 0x236, 2, 0, "64-bit entry" },
		{ 0x1f1, 1, 255, "protected-mode" },		/* set-up longer than the file */
		{ 0x258, 8, 16 * MIB + 1, "aligned" },
		{ 0x258, 8, 0, "segment is below" },
		{ 0x258, 8, UINT64_MAX & ~4095ull, "wraps" },
		{ 0x202, 4, 0, "neither" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		make_bzimage();
		put(cases[i].at, cases[i].value, cases[i].len);
		assert_int_equal(vmm_linux_parse(file, FILE_LEN / 2, &parsed), -EINVAL);
		assert_non_null(strstr(apf_error(), cases[i].text));
	}
}

static void test_elf_segments_and_entry(void **state)
{
	make_elf();
	assert_int_equal(vmm_linux_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.image.nr_segments, 1);
	assert_int_equal(parsed.image.entry, 2 * MIB + 0x10);
	assert_int_equal(parsed.image.end, 2 * MIB + 8192);
}

static void test_elf_entry_may_be_a_virtual_address(void **state)
{
	make_elf();
	put(64 + offsetof(Elf64_Phdr, p_vaddr), 0xffffffff80000000ull, 8);
	put(offsetof(Elf64_Ehdr, e_entry), 0xffffffff80000010ull, 8);
	assert_int_equal(vmm_linux_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.image.entry, 2 * MIB + 0x10);
}

static void test_elf_fields_that_make_no_sense_are_refused(void **state)
{
	const size_t ph = 64;
	const struct {
		size_t at, len;
		uint64_t value;
		const char *text;
	} cases[] = {
		{ EI_CLASS, 1, ELFCLASS32, "multiboot" },
		{ EI_CLASS, 1, 7, "class" },
		{ EI_DATA, 1, ELFDATA2MSB, "little-endian" },
		{ offsetof(Elf64_Ehdr, e_machine), 2, EM_AARCH64, "processor" },
		{ offsetof(Elf64_Ehdr, e_type), 2, ET_REL, "executable" },
		{ offsetof(Elf64_Ehdr, e_phentsize), 2, 1, "odd size" },
		{ offsetof(Elf64_Ehdr, e_phnum), 2, 0xffff, "program headers" },
		{ offsetof(Elf64_Ehdr, e_phnum), 2, 0, "entry" },
		{ offsetof(Elf64_Ehdr, e_phoff), 8, UINT64_MAX, "program headers" },
		{ offsetof(Elf64_Ehdr, e_phoff), 8, FILE_LEN - 8, "program headers" },
		{ offsetof(Elf64_Ehdr, e_entry), 8, MIB, "entry" },
		{ ph + offsetof(Elf64_Phdr, p_offset), 8, FILE_LEN, "file's end" },
		{ ph + offsetof(Elf64_Phdr, p_offset), 8, UINT64_MAX, "file's end" },
		{ ph + offsetof(Elf64_Phdr, p_filesz), 8, UINT64_MAX, "file's end" },
		{ ph + offsetof(Elf64_Phdr, p_memsz), 8, 99, "longer" },
		{ ph + offsetof(Elf64_Phdr, p_paddr), 8, MIB - 1, "segment is below" },
		{ ph + offsetof(Elf64_Phdr, p_paddr), 8, UINT64_MAX - 10, "wraps" },
		{ ph + sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_type), 4, PT_LOAD, "overlap" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		make_elf();
		put(cases[i].at, cases[i].value, cases[i].len);
		assert_int_equal(vmm_linux_parse(file, FILE_LEN, &parsed), -EINVAL);
		assert_non_null(strstr(apf_error(), cases[i].text));
	}
}

static void test_images_cut_anywhere_do_not_read_behind_their_end(void **state)
{
	for (unsigned int elf = 0; elf < 2; elf++) {
		if (elf)
			make_elf();
		else
			make_bzimage();
		for (size_t len = 0; len < 4300; len++) {
			void *copy = malloc(len + 1);

			memcpy(copy, file, len);
			vmm_linux_parse(copy, len, &parsed);
			free(copy);
		}
	}
}

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

static void test_ram_has_a_hole_between_3_and_4_gib(void **state)
{
	struct vmm_ram ram = make_ram(8ull << 30);
	const uint64_t low = RAM_LOW_MAX, high = RAM_HIGH_START;

	assert_ptr_equal(vmm_ram_at(&ram, low - 8, 8), ram.base + low - 8);
	assert_ptr_equal(vmm_ram_at(&ram, high, 8), ram.base + low);
	assert_non_null(vmm_ram_at(&ram, (9ull << 30) - 1, 1));
	assert_null(vmm_ram_at(&ram, low - 8, 9));
	assert_null(vmm_ram_at(&ram, low, 1));
	assert_null(vmm_ram_at(&ram, high - 1, 1));
	assert_null(vmm_ram_at(&ram, 9ull << 30, 1));
	assert_null(vmm_ram_at(&ram, 4096, UINT64_MAX));
	assert_null(vmm_ram_at(&ram, UINT64_MAX, 2));
	drop_ram(&ram);
}

static struct vmm_boot_file initrd;

static int load(struct vmm_ram *ram, size_t len, const char *cmdline, struct vmm_boot_entry *e)
{
	const struct vmm_boot_args args = { .kernel = file, .kernel_len = FILE_LEN, .files = &initrd,
					    .nr_files = len ? 1 : 0, .cmdline = cmdline, .cpus = 2 };

	initrd = (struct vmm_boot_file){ .len = len };
	return vmm_linux_load(ram, &args, e);
}

static void test_bzimage_boot_fills_boot_params(void **state)
{
	struct vmm_ram ram = make_ram(5ull << 30);
	const struct boot_params *bp = vmm_ram_at(&ram, GPA_BOOT_PARAMS, sizeof(*bp));
	struct vmm_boot_entry e;

	make_bzimage();
	assert_int_equal(load(&ram, 12345, "console=ttyS0", &e), 0);
	assert_true(e.long_mode);
	assert_int_equal(e.pc, 16 * MIB + 0x200);
	assert_int_equal(e.info, GPA_BOOT_PARAMS);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_string_equal((char *)vmm_ram_at(&ram, bp->hdr.cmd_line_ptr, 64), "console=ttyS0");
	assert_int_equal(bp->hdr.ramdisk_size, 12345);
	assert_int_equal(bp->hdr.ramdisk_image % 4096, 0);
	assert_true(bp->hdr.ramdisk_image + 12345ull <= 0x80000000ull);
	assert_ptr_equal(initrd.where, vmm_ram_at(&ram, bp->hdr.ramdisk_image, 12345));
	assert_int_equal(bp->acpi_rsdp_addr, GPA_ACPI);
	assert_int_equal(bp->e820_entries, 4);
	assert_int_equal(bp->e820_table[3].addr, RAM_HIGH_START);
	assert_int_equal(bp->e820_table[3].size, 2ull << 30);
	drop_ram(&ram);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	struct vmm_ram ram = make_ram(24 * MIB);
	char long_line[3000];
	struct vmm_boot_entry e;

	make_bzimage();
	assert_int_equal(load(&ram, 0, "", &e), 0);
	assert_int_equal(load(&ram, 5 * MIB, "", &e), -ENOSPC);		/* would overlap the kernel */
	assert_int_equal(load(&ram, 25 * MIB, "", &e), -ENOSPC);
	memset(long_line, 'x', sizeof(long_line) - 1);
	long_line[sizeof(long_line) - 1] = '\0';
	assert_int_equal(load(&ram, 0, long_line, &e), -EINVAL);
	put(0x260, 64 * MIB, 4);					/* init_size */
	assert_int_equal(load(&ram, 0, "", &e), -ENOSPC);
	drop_ram(&ram);
	ram = make_ram(MIB);
	make_elf();
	assert_int_equal(load(&ram, 0, "", &e), -ENOSPC);
	drop_ram(&ram);
}

static uint8_t sum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint8_t s = 0;

	for (size_t i = 0; i < len; i++)
		s += b[i];
	return s;
}

/* A table at this address: its length is plausible, its bytes add up to zero. */
static const uint8_t *table(struct vmm_ram *ram, uint64_t at, const char *signature)
{
	const uint8_t *t = vmm_ram_at(ram, at, 36);
	uint32_t len;

	assert_non_null(t);
	assert_memory_equal(t, signature, 4);
	memcpy(&len, t + 4, 4);
	assert_in_range(at, GPA_ACPI, GPA_ACPI_END - len);
	assert_int_equal(sum(t, len), 0);
	return t;
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static void test_acpi_checksums_and_links(void **state)
{
	static const unsigned int cpus[] = { 1, 2, 254 };

	for (size_t i = 0; i < COUNT(cpus); i++) {
		struct vmm_ram ram = make_ram(4 * MIB);
		const uint8_t *rsdp = vmm_ram_at(&ram, GPA_ACPI, 36), *xsdt, *fadt, *madt;

		assert_int_equal(vmm_acpi_write(&ram, cpus[i]), GPA_ACPI);
		assert_memory_equal(rsdp, "RSD PTR ", 8);
		assert_int_equal(sum(rsdp, 20), 0);
		assert_int_equal(sum(rsdp, 36), 0);
		xsdt = table(&ram, u64_at(rsdp + 24), "XSDT");
		fadt = table(&ram, u64_at(xsdt + 36), "FACP");
		madt = table(&ram, u64_at(xsdt + 44), "APIC");
		table(&ram, u64_at(fadt + 140), "DSDT");
		assert_int_equal(u64_at(fadt + 116 + 4), PORT_RESET);
		assert_int_equal(u64_at(fadt + 244 + 4), PORT_SLEEP_CONTROL);
		/* One 8-byte entry a vCPU, with its APIC id, then the I/O APIC. */
		assert_int_equal(madt[4] | madt[5] << 8, 44 + 8 * cpus[i] + 12);
		for (unsigned int k = 0; k < cpus[i]; k++)
			assert_int_equal(madt[44 + 8 * k + 3], k);
		assert_int_equal(madt[44 + 8 * cpus[i]], 1);
		drop_ram(&ram);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage_loads_at_its_preferred_address),
		cmocka_unit_test(test_bzimage_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_elf_segments_and_entry),
		cmocka_unit_test(test_elf_entry_may_be_a_virtual_address),
		cmocka_unit_test(test_elf_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_images_cut_anywhere_do_not_read_behind_their_end),
		cmocka_unit_test(test_ram_has_a_hole_between_3_and_4_gib),
		cmocka_unit_test(test_bzimage_boot_fills_boot_params),
		cmocka_unit_test(test_what_does_not_fit_is_refused),
		cmocka_unit_test(test_acpi_checksums_and_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
