/* SPDX-License-Identifier: MIT */
/* The other processors: found, started through INIT and SIPI, and interrupted. */
#include "kernel.h"

#define INIT_WAIT_US	10000u
#define STARTUP_WAIT_US	200u
#define START_LIMIT_US	10000000u

extern char trampoline[], trampoline_end[];

/* For boot.S. */
extern uint64_t ap_stack;
uint64_t ap_stack;
void ap_main(void);

static void find_cpus(void)
{
	uint32_t id[MAX_CPUS], count, self = apic_id();

	cpus[0].apic_id = self;
	nr_cpus = 1;
	count = option.cpus ? 0 : acpi_cpus(id, MAX_CPUS);
	/* Told how many there are, the ids are taken to be counted from 0. */
	for (; count < option.cpus; count++)
		id[count] = count;
	for (uint32_t i = 0; i < count && nr_cpus < MAX_CPUS; i++)
		if (id[i] != self)
			cpus[nr_cpus++].apic_id = id[i];
	for (uint32_t i = 0; i < nr_cpus; i++)
		cpus[i].id = i;
}

void ap_main(void)
{
	struct cpu *cpu = this_cpu();

	trap_init_cpu(cpu);
	apic_init_cpu();
	apf_start_cpu();
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	idle_loop();
}

static bool is_online(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE);
}

static void start(struct cpu *cpu)
{
	struct task *idle = memory_take(KSTACK_SIZE, KSTACK_SIZE);
	uint64_t limit = clock_now() + clock_ticks(START_LIMIT_US);

	sched_start_cpu(cpu, idle);
	ap_stack = (uintptr_t)idle + KSTACK_SIZE;
	apic_send_init(cpu->apic_id);
	clock_delay(INIT_WAIT_US);
	for (int i = 0; i < 2 && !is_online(cpu); i++) {
		apic_send_startup(cpu->apic_id, TRAMPOLINE / PAGE_SIZE);
		clock_delay(STARTUP_WAIT_US);
	}
	while (!is_online(cpu)) {
		if (clock_now() > limit)
			die("a processor did not start");
		__builtin_ia32_pause();
	}
}

void smp_start(void)
{
	find_cpus();
	apf_init();
	cpus[0].online = true;
	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	for (uint32_t i = 1; i < nr_cpus; i++)
		start(&cpus[i]);
}

void smp_control(void)
{
	for (uint32_t i = 0; i < nr_cpus; i++)
		apic_send(cpus[i].apic_id, VECTOR_CONTROL);
}
