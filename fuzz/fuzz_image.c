/* SPDX-License-Identifier: MIT */
/*
 * Hostile bytes as a kernel image, for x86 (Linux's boot protocol or multiboot's) and for
 * arm64: parsed, and loaded into 32 MiB of guest memory with themselves as initrd or module.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>
#include <vmm/boot_arm64.h>
#include <vmm/boot_linux.h>
#include <vmm/boot_multiboot.h>
#include <vmm/machine_arm64.h>
#include <vmm/machine_x86.h>
#include <vmm/ram.h>

#define RAM_SIZE	(32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load_x86(const struct vmm_ram *ram, const struct vmm_boot_args *args)
{
	struct vmm_boot_entry entry;

	return vmm_multiboot_recognize(args->kernel, args->kernel_len)
		? vmm_multiboot_load(ram, args, &entry) : vmm_linux_load(ram, args, &entry);
}

static int load_arm64(const struct vmm_ram *ram, const struct vmm_boot_args *args)
{
	struct vmm_boot_entry entry;

	return vmm_arm64_load(ram, args, &entry);
}

static void load(const struct vmm_ram_layout *layout, const uint8_t *data, size_t size,
		 int (*loader)(const struct vmm_ram *ram, const struct vmm_boot_args *args))
{
	static uint8_t *base;
	struct vmm_boot_file file = { .len = size, .text = "file" };
	const struct vmm_boot_args args = { .kernel = data, .kernel_len = size, .files = &file,
					    .nr_files = 1, .cmdline = "console=ttyS0", .cpus = 2 };
	struct vmm_ram ram;
	int err;

	if (!base)
		base = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vmm_ram_init(&ram, layout, base, RAM_SIZE);
	err = loader(&ram, &args);
	if (!err)
		memcpy(file.where, data, size);
	else if (!*apf_error())
		abort();	/* every refusal says why */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	load(&vmm_ram_x86, data, size, load_x86);
	load(&vmm_ram_arm64, data, size, load_arm64);
	return 0;
}
