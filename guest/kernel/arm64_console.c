/* SPDX-License-Identifier: MIT */
/* Commands that only arm64 has. */
#include "kernel.h"

/* As many of x0 to x6 as there are; the others are 0. */
static void command_hvc(const char *rest)
{
	static const char *const names[4] = { " x0=0x", " x1=0x", " x2=0x", " x3=0x" };
	uint64_t x[7], r[4];

	for (uint32_t i = 0; i < 7; i++)
		x[i] = str_number(&rest, 16);
	hypervisor_call(x, r);
	put_number("@apf hvc cpu=", this_cpu()->id);
	for (uint32_t i = 0; i < 4; i++)
		put_hex(names[i], r[i]);
	put("\n");
}

const struct command arch_commands[] = {
	{ "hvc", command_hvc },
};
const uint32_t nr_arch_commands = sizeof(arch_commands) / sizeof(arch_commands[0]);
