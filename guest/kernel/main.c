/* SPDX-License-Identifier: MIT */
/* From the architecture's beginning to the first task. */
#include "kernel.h"

void kernel_start(const char *cmdline)
{
	options_read(cmdline);
	sched_start_cpu(&cpus[0], current());
	arch_init();
	smp_start();
	task_create(TASK_NORMAL, job_main, NULL);
	idle_loop();
}
