/* SPDX-License-Identifier: MIT */
/*
 * Hostile bytes as a kernel image, for Linux's boot protocol or multiboot's: parsed, and
 * loaded into 32 MiB of guest memory with themselves as initrd or module.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apf/error.h>
#include <vmm/boot_linux.h>
#include <vmm/boot_multiboot.h>
#include <vmm/machine_x86.h>
#include <vmm/ram.h>

#define RAM_SIZE	(32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *base;
	struct vmm_boot_file file = { .len = size, .text = "file" };
	const struct vmm_boot_args args = { .kernel = data, .kernel_len = size, .files = &file,
					    .nr_files = 1, .cmdline = "console=ttyS0", .cpus = 2 };
	struct vmm_boot_entry entry;
	struct vmm_ram ram;
	int err;

	if (!base)
		base = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vmm_ram_init(&ram, &vmm_ram_x86, base, RAM_SIZE);
	err = vmm_multiboot_recognize(data, size) ? vmm_multiboot_load(&ram, &args, &entry)
	      : vmm_linux_load(&ram, &args, &entry);
	if (!err)
		memcpy(file.where, data, size);
	else if (!*apf_error())
		abort();	/* every refusal says why */
	return 0;
}
