/* SPDX-License-Identifier: MIT */
/* The other processors: started one after the other, and interrupted. */
#include "kernel.h"

#define START_LIMIT_US	10000000u

bool smp_is_online(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE);
}

void smp_main(void)
{
	struct cpu *cpu = this_cpu();

	arch_init_cpu(cpu);
	apf_start_cpu();
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	idle_loop();
}

static void start(struct cpu *cpu)
{
	struct task *idle = memory_take(KSTACK_SIZE, KSTACK_SIZE);
	uint64_t limit = clock_now() + clock_ticks(START_LIMIT_US);

	sched_start_cpu(cpu, idle);
	arch_start_cpu(cpu, (char *)idle + KSTACK_SIZE);
	while (!smp_is_online(cpu)) {
		if (clock_now() > limit)
			die("a processor did not start");
		cpu_relax();
	}
}

void smp_start(void)
{
	nr_cpus = arch_find_cpus();
	for (uint32_t i = 0; i < nr_cpus; i++)
		cpus[i].id = i;
	apf_init();
	cpus[0].online = true;
	for (uint32_t i = 1; i < nr_cpus; i++)
		start(&cpus[i]);
}

void smp_control(void)
{
	for (uint32_t i = 0; i < nr_cpus; i++)
		arch_send(&cpus[i], IPI_CONTROL);
}

void smp_interrupt(enum ipi ipi)
{
	switch (ipi) {
	case IPI_RESCHED:
		this_cpu()->resched = true;
		break;
	case IPI_CONTROL:
		apf_control_interrupt();
		break;
	}
}
