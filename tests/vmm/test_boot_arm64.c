/* SPDX-License-Identifier: MIT */
/* arm64 kernel images, honest and malformed, and the device tree beside them. On any machine. */
#include "test_vmm.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <libfdt.h>

#include <apf/error.h>
#include <vmm/boot_arm64.h>
#include <vmm/device_tree.h>
#include <vmm/machine_arm64.h>

#define FILE_LEN	65536u
#define MIB		(1ull << 20)
#define TREE_MAX	65536u

static uint8_t file[FILE_LEN];
static struct vmm_image parsed;
static _Alignas(8) uint8_t tree[TREE_MAX];

static void put(size_t at, uint64_t value, size_t len)
{
	memcpy(file + at, &value, len);
}

static void make_image(void)
{
	memset(file, 0, sizeof(file));
	put(0, 0x14000010, 4);			/* b to behind the header */
	put(16, 4 * MIB, 8);			/* image_size */
	put(24, 0xa, 8);			/* flags: little-endian, 4K pages, anywhere */
	memcpy(file + 56, "ARM\x64", 4);
}

static void make_elf(void)
{
	Elf64_Ehdr e = { .e_type = ET_EXEC, .e_machine = EM_AARCH64, .e_entry = GPA_RAM + MIB + 16,
			 .e_phoff = 64, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	const Elf64_Phdr p = { .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 100, .p_memsz = 8192,
			       .p_paddr = GPA_RAM + MIB, .p_vaddr = GPA_RAM + MIB };

	memset(file, 0, sizeof(file));
	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &e, sizeof(e));
	memcpy(file + 64, &p, sizeof(p));
}

static void test_image_loads_at_its_text_offset(void **state)
{
	make_image();
	put(8, 0x80000, 8);
	assert_int_equal(vmm_arm64_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.nr_segments, 1);
	assert_int_equal(parsed.entry, GPA_RAM + 0x80000);
	assert_int_equal(parsed.segments[0].gpa, GPA_RAM + 0x80000);
	assert_int_equal(parsed.segments[0].file_len, FILE_LEN);
	assert_int_equal(parsed.segments[0].mem_len, 4 * MIB);
}

static void test_image_without_a_size_is_an_old_kernel(void **state)
{
	make_image();
	put(16, 0, 8);
	assert_int_equal(vmm_arm64_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.entry, GPA_RAM + 0x80000);
	assert_int_equal(parsed.segments[0].mem_len, FILE_LEN);
}

static void check_refused(const char *text)
{
	assert_int_equal(vmm_arm64_parse(file, FILE_LEN, &parsed), -EINVAL);
	assert_non_null(strstr(apf_error(), text));
}

static void test_image_fields_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 24, 8, 1, "big-endian" },
		{ 8, 8, 2 * MIB, "text offset" },
		{ 8, 8, UINT64_MAX, "text offset" },
		{ 16, 8, UINT64_MAX, "wraps" },
		{ 56, 4, 0, "neither" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		make_image();
		put(cases[i].at, cases[i].value, cases[i].len);
		check_refused(cases[i].text);
	}
}

static void test_compressed_kernels_are_refused_with_the_way_to_unpack_them(void **state)
{
	static const struct {
		const char *compression, *text;
	} cases[] = {
		{ "gzip", "tail -c +4097 FILE | head -c 5000 | gzip -dc >Image" },
		{ "zstd22", "| zstd -dc" }, { "xzkern", "| xz -dc" }, { "new", "not known" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file, "MZ\0\0zimg", 8);
		put(8, 4096, 4);
		put(12, 5000, 4);
		strcpy((char *)file + 24, cases[i].compression);
		check_refused(cases[i].text);
	}
	memset(file, 0, sizeof(file));
	memcpy(file, "\x1f\x8b\x08", 3);
	check_refused("gzip -dc FILE >Image");
}

static void test_elf_of_arm64_is_taken_and_of_others_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *text;
	} cases[] = {
		{ EI_CLASS, 1, ELFCLASS32, "processor" },
		{ offsetof(Elf64_Ehdr, e_machine), 2, EM_X86_64, "processor" },
		{ offsetof(Elf64_Ehdr, e_machine), 2, EM_NONE, "processor" },
		{ 64 + offsetof(Elf64_Phdr, p_paddr), 8, GPA_RAM - 1, "segment is below" },
	};

	make_elf();
	assert_int_equal(vmm_arm64_parse(file, FILE_LEN, &parsed), 0);
	assert_int_equal(parsed.entry, GPA_RAM + MIB + 16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		make_elf();
		put(cases[i].at, cases[i].value, cases[i].len);
		check_refused(cases[i].text);
	}
	/* A 32-bit file of machine 0 is none that this machine has, either. */
	make_elf();
	put(EI_CLASS, ELFCLASS32, 1);
	put(offsetof(Elf32_Ehdr, e_machine), EM_NONE, 2);
	check_refused("processor");
}

static void test_images_cut_anywhere_do_not_read_behind_their_end(void **state)
{
	for (unsigned int elf = 0; elf < 2; elf++) {
		if (elf)
			make_elf();
		else
			make_image();
		for (size_t len = 0; len < 4300; len++) {
			void *copy = malloc(len + 1);

			memcpy(copy, file, len);
			vmm_arm64_parse(copy, len, &parsed);
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
	vmm_ram_init(&ram, &vmm_ram_arm64, base, size);
	return ram;
}

static struct vmm_boot_file initrd;

static int load(struct vmm_ram *ram, size_t len, const char *cmdline, struct vmm_boot_entry *e)
{
	const struct vmm_boot_args args = { .kernel = file, .kernel_len = FILE_LEN, .files = &initrd,
					    .nr_files = len ? 1 : 0, .cmdline = cmdline, .cpus = 2 };

	initrd = (struct vmm_boot_file){ .len = len };
	return vmm_arm64_load(ram, &args, e);
}

static void test_ram_is_one_piece_from_1_gib_on(void **state)
{
	struct vmm_ram ram = make_ram(8ull << 30);

	assert_int_equal(ram.nr_slots, 1);
	assert_ptr_equal(vmm_ram_at(&ram, GPA_RAM, 8), ram.base);
	assert_ptr_equal(vmm_ram_at(&ram, (9ull << 30) - 8, 8), ram.base + (8ull << 30) - 8);
	assert_null(vmm_ram_at(&ram, GPA_RAM - 1, 8));
	assert_null(vmm_ram_at(&ram, (9ull << 30) - 8, 9));
	assert_null(vmm_ram_at(&ram, 0, 1));
	munmap(ram.base, 8ull << 30);
}

/* A property of big-endian cells. */
static const fdt32_t *cells(const void *fdt, const char *path, const char *name, size_t n)
{
	int len, node = fdt_path_offset(fdt, path);
	const fdt32_t *p = fdt_getprop(fdt, node, name, &len);

	assert_true(node >= 0);
	assert_non_null(p);
	assert_int_equal(len, n * sizeof(*p));
	return p;
}

static uint64_t two_cells(const void *fdt, const char *path, const char *name, size_t n, size_t at)
{
	const fdt32_t *p = cells(fdt, path, name, n);

	return (uint64_t)fdt32_to_cpu(p[at]) << 32 | fdt32_to_cpu(p[at + 1]);
}

static const char *text(const void *fdt, const char *path, const char *name)
{
	const char *p = fdt_getprop(fdt, fdt_path_offset(fdt, path), name, NULL);

	assert_non_null(p);
	return p;
}

static void test_kernel_tree_and_initrd_lie_one_behind_the_other(void **state)
{
	struct vmm_ram ram = make_ram(16 * MIB);
	struct vmm_boot_entry e;
	const uint8_t *fdt;

	make_image();
	assert_int_equal(load(&ram, 12345, "console=ttyS0 quiet", &e), 0);
	assert_int_equal(e.pc, GPA_RAM);
	assert_memory_equal(ram.base, file, FILE_LEN);
	assert_int_equal(e.info, GPA_RAM + 4 * MIB);
	fdt = vmm_ram_at(&ram, e.info, TREE_MAX);
	assert_int_equal(fdt_check_header(fdt), 0);
	assert_int_equal(e.info / (2 * MIB), (e.info + fdt_totalsize(fdt) - 1) / (2 * MIB));
	assert_string_equal(text(fdt, "/chosen", "bootargs"), "console=ttyS0 quiet");
	assert_int_equal(two_cells(fdt, "/chosen", "linux,initrd-end", 2, 0) -
			 two_cells(fdt, "/chosen", "linux,initrd-start", 2, 0), 12345);
	assert_ptr_equal(initrd.where, vmm_ram_at(&ram, two_cells(fdt, "/chosen",
								  "linux,initrd-start", 2, 0), 1));
	assert_true((uint8_t *)initrd.where >= fdt + fdt_totalsize(fdt));
	munmap(ram.base, 16 * MIB);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	static char long_line[70000];
	struct vmm_ram ram = make_ram(8 * MIB);
	struct vmm_boot_entry e;

	make_image();
	assert_int_equal(load(&ram, 0, "", &e), 0);
	assert_int_equal(load(&ram, 4 * MIB, "", &e), -ENOSPC);
	assert_int_equal(load(&ram, SIZE_MAX, "", &e), -ENOSPC);
	memset(long_line, 'x', sizeof(long_line) - 1);
	assert_int_equal(load(&ram, 0, long_line, &e), -ENOSPC);
	assert_non_null(strstr(apf_error(), "command line"));
	put(16, 8 * MIB, 8);		/* image_size: no room for the tree */
	assert_int_equal(load(&ram, 0, "", &e), -ENOSPC);
	put(16, 9 * MIB, 8);
	assert_int_equal(load(&ram, 0, "", &e), -ENOSPC);
	munmap(ram.base, 8 * MIB);
}

static void make_tree(unsigned int cpus)
{
	const struct vmm_machine_info info = { .ram = GPA_RAM, .ram_size = 5ull << 30, .cpus = cpus,
					       .cmdline = "a b" };

	assert_int_equal(vmm_device_tree_write(tree, sizeof(tree), &info), 0);
	assert_int_equal(fdt_check_full(tree, sizeof(tree)), 0);
}

static void test_tree_describes_the_machine(void **state)
{
	make_tree(2);
	assert_int_equal(two_cells(tree, "/memory@40000000", "reg", 4, 0), GPA_RAM);
	assert_int_equal(two_cells(tree, "/memory@40000000", "reg", 4, 2), 5ull << 30);
	assert_string_equal(text(tree, "/psci", "method"), "hvc");
	assert_int_equal(two_cells(tree, "/interrupt-controller@8000000", "reg", 8, 0), GPA_GIC);
	assert_int_equal(two_cells(tree, "/interrupt-controller@8000000", "reg", 8, 4), GPA_REDIST);
	assert_int_equal(two_cells(tree, "/interrupt-controller@8000000", "reg", 8, 6), 0x40000);
	assert_int_equal(two_cells(tree, "/serial@9000000", "reg", 4, 0), GPA_SERIAL);
	assert_int_equal(fdt32_to_cpu(cells(tree, "/serial@9000000", "interrupts", 3)[1]), 1);
	assert_int_equal(two_cells(tree, "/debug-exit@9010000", "reg", 4, 0), GPA_DEBUG_EXIT);
	/* The third of four is the virtual timer's: PPI 11, INTID 27. */
	assert_int_equal(fdt32_to_cpu(cells(tree, "/timer", "interrupts", 12)[7]), 11);
	assert_null(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "linux,initrd-start", NULL));
}

static void test_tree_has_every_processor_with_its_affinity(void **state)
{
	static const struct {
		unsigned int cpus, last;
	} cases[] = { { 1, 0 }, { 2, 1 }, { 16, 15 }, { 17, 0x100 }, { ARM64_CPUS_MAX, 0x70a } };

	for (size_t i = 0; i < COUNT(cases); i++) {
		char path[32];
		unsigned int n = 0;
		int node;

		make_tree(cases[i].cpus);
		fdt_for_each_subnode(node, tree, fdt_path_offset(tree, "/cpus"))
			n++;
		assert_int_equal(n, cases[i].cpus);
		snprintf(path, sizeof(path), "/cpus/cpu@%x", cases[i].last);
		assert_string_equal(text(tree, path, "enable-method"), "psci");
		assert_int_equal(fdt32_to_cpu(*cells(tree, path, "reg", 1)), cases[i].last);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_loads_at_its_text_offset),
		cmocka_unit_test(test_image_without_a_size_is_an_old_kernel),
		cmocka_unit_test(test_image_fields_that_make_no_sense_are_refused),
		cmocka_unit_test(test_compressed_kernels_are_refused_with_the_way_to_unpack_them),
		cmocka_unit_test(test_elf_of_arm64_is_taken_and_of_others_refused),
		cmocka_unit_test(test_images_cut_anywhere_do_not_read_behind_their_end),
		cmocka_unit_test(test_ram_is_one_piece_from_1_gib_on),
		cmocka_unit_test(test_kernel_tree_and_initrd_lie_one_behind_the_other),
		cmocka_unit_test(test_what_does_not_fit_is_refused),
		cmocka_unit_test(test_tree_describes_the_machine),
		cmocka_unit_test(test_tree_has_every_processor_with_its_affinity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
