/* SPDX-License-Identifier: MIT */
/* From the loader's hand-over to the common start; how the machine ends. */
#include "kernel.h"

#define PSCI_CPU_ON	0xc4000003u
#define PSCI_OFF	0x84000008u
#define PSCI_RESET	0x84000009u

extern char secondary_start[];

void kernel_main(const void *tree);	/* for arm64_boot.S */

static int64_t psci(uint32_t function, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t x[7] = { function, a, b, c };
	uint64_t r[4] = { 0 };

	if (machine.psci_by_hvc)
		hypervisor_call(x, r);
	return (int32_t)r[0];
}

static void halt_for_ever(void) __attribute__((noreturn));

static void halt_for_ever(void)
{
	irq_off();
	for (;;)
		__asm__ volatile("wfi");
}

void debug_exit(uint32_t code)
{
	if (machine.debug_exit)
		*(volatile uint32_t *)machine.debug_exit = code;
}

void power_off(void)
{
	psci(PSCI_OFF, 0, 0, 0);
	halt_for_ever();
}

void reset(void)
{
	psci(PSCI_RESET, 0, 0, 0);
	halt_for_ever();
}

/* The tree may lie where memory is taken from: nothing of it is needed later. */
void kernel_main(const void *tree)
{
	if (!dt_read(tree) || !machine.serial)
		halt_for_ever();
	if (!machine.distributor || !machine.redistributors)
		die("no GICv3");
	kernel_start(machine.bootargs);
}

void arch_init(void)
{
	clock_set_khz(sysreg_read("cntfrq_el0") / 1000);
	gic_init();
	arch_init_cpu(&cpus[0]);
}

void arch_init_cpu(struct cpu *cpu)
{
	trap_init_cpu();
	gic_init_cpu(cpu);
}

uint32_t arch_find_cpus(void)
{
	uint64_t self = cpus[0].arch.mpidr;
	uint32_t found = 1;
	uint64_t most = option.cpus ? option.cpus : MAX_CPUS;

	for (uint32_t i = 0; i < machine.cpus && found < most; i++)
		if (machine.mpidr[i] != self)
			cpus[found++].arch.mpidr = machine.mpidr[i];
	return found;
}

void arch_start_cpu(struct cpu *cpu, void *stack_end)
{
	if (psci(PSCI_CPU_ON, cpu->arch.mpidr, (uintptr_t)secondary_start, (uintptr_t)stack_end))
		die("a processor cannot be started");
}

/* Entries that were not valid are not remembered, but must be written before they are used. */
void arch_flush_tables(void)
{
	__asm__ volatile("dsb ishst; isb" : : : "memory");
}
