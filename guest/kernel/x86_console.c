/* SPDX-License-Identifier: MIT */
/* Commands that only x86 has. */
#include "kernel.h"

static void put_result(int failed, uint64_t value)
{
	put_number("@apf msr cpu=", this_cpu()->id);
	put_number(" gp=", failed != 0);
	put_hex(" value=0x", value);
	put("\n");
}

static void command_rdmsr(const char *rest)
{
	uint64_t value = 0;
	int failed = msr_read((uint32_t)str_number(&rest, 16), &value);

	put_result(failed, value);
}

static void command_wrmsr(const char *rest)
{
	uint32_t msr = (uint32_t)str_number(&rest, 16);
	uint64_t value = str_number(&rest, 16);

	put_result(msr_write(msr, value), value);
}

static void command_cpuid(const char *rest)
{
	uint32_t r[4];

	cpuid((uint32_t)str_number(&rest, 16), r);
	put_hex("@apf cpuid eax=0x", r[0]);
	put_hex(" ebx=0x", r[1]);
	put_hex(" ecx=0x", r[2]);
	put_hex(" edx=0x", r[3]);
	put("\n");
}

const struct command arch_commands[] = {
	{ "rdmsr", command_rdmsr },
	{ "wrmsr", command_wrmsr },
	{ "cpuid", command_cpuid },
};
const uint32_t nr_arch_commands = sizeof(arch_commands) / sizeof(arch_commands[0]);
