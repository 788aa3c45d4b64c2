/* SPDX-License-Identifier: MIT */
/* From the multiboot loader's hand-over to the common start. */
#include "kernel.h"

#define MULTIBOOT_LOADED	0x2badb002u
#define MULTIBOOT_HAS_CMDLINE	(1u << 2)
#define CMDLINE_MOST		1024u

void kernel_main(uint32_t magic, const uint32_t *info);	/* for x86_boot.S */

/* The loader may have put it where processors are started, or where memory is taken from. */
static const char *copy_cmdline(const uint32_t *info)
{
	static char cmdline[CMDLINE_MOST];
	const char *from = (const char *)(uintptr_t)info[4];

	if (!(info[0] & MULTIBOOT_HAS_CMDLINE))
		return "";
	for (uint32_t i = 0; i + 1 < CMDLINE_MOST && from[i]; i++)
		cmdline[i] = from[i];
	return cmdline;
}

void kernel_main(uint32_t magic, const uint32_t *info)
{
	const char *cmdline;

	if (magic != MULTIBOOT_LOADED)
		die("not loaded by a multiboot loader");
	cmdline = copy_cmdline(info);
	memory_init(info);
	kernel_start(cmdline);
}

void arch_init(void)
{
	trap_init();
	trap_init_cpu(&cpus[0]);
	memory_open_user_image();
	clock_init();
	apic_init_cpu();
	apic_calibrate();
}

void arch_init_cpu(struct cpu *cpu)
{
	trap_init_cpu(cpu);
	apic_init_cpu();
}
