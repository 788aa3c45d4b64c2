/* SPDX-License-Identifier: MIT */
/* The other processors, found through ACPI and started through INIT and SIPI. */
#include "kernel.h"

#define INIT_WAIT_US	10000u
#define STARTUP_WAIT_US	200u

extern char trampoline[], trampoline_end[];

/* For x86_boot.S. */
extern void *ap_stack;
void *ap_stack;

uint32_t arch_find_cpus(void)
{
	uint32_t id[MAX_CPUS], found = 1, self = apic_id();
	uint32_t count = option.cpus ? 0 : acpi_cpus(id, MAX_CPUS);

	cpus[0].arch.apic_id = self;
	/* Told how many there are, the ids are taken to be counted from 0. */
	for (; count < option.cpus; count++)
		id[count] = count;
	for (uint32_t i = 0; i < count && found < MAX_CPUS; i++)
		if (id[i] != self)
			cpus[found++].arch.apic_id = id[i];
	return found;
}

void arch_start_cpu(struct cpu *cpu, void *stack_end)
{
	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	ap_stack = stack_end;
	apic_send_init(cpu->arch.apic_id);
	clock_delay(INIT_WAIT_US);
	for (int i = 0; i < 2 && !smp_is_online(cpu); i++) {
		apic_send_startup(cpu->arch.apic_id, TRAMPOLINE / PAGE_SIZE);
		clock_delay(STARTUP_WAIT_US);
	}
}
