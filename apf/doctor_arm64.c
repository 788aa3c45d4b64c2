/* SPDX-License-Identifier: MIT */
/* apf doctor: what an arm64 host's KVM offers. */
#include <string.h>

#include "doctor.h"

static void check(struct doctor *d, const struct apf_kvm_probe *p)
{
	static const char newer[] = "use a newer kernel";

	doctor_add(d, "irqchip", p->irqchip, FOR_USER, "use a machine with a GICv3",
		   "interrupt controller in the kernel");
	doctor_add(d, "smccc-filter", p->smccc_filter, FOR_USER, newer,
		   "the SMCCC filter (6.4): the guest's calls reach user space");
	doctor_add(d, "inject-dabt", p->ext_dabt, FOR_USER, newer,
		   "KVM_CAP_ARM_INJECT_EXT_DABT (5.5): a data abort with a token");
	doctor_add(d, "suspend", p->suspend, 0, "halted vCPUs then serve no interrupts",
		   "KVM_CAP_ARM_SYSTEM_SUSPEND (5.19): a vCPU halts, and interrupts wake it");
	doctor_add(d, "kernel-delivery", false, FOR_KERNEL, "modes sync and user are the ones to take",
		   "asynchronous page faults of KVM's own: arm64 has none");
}

/* The number of the host's own timer interrupt, which its kernel chooses by its mode; or 0. */
static unsigned int timer_interrupt(void)
{
	FILE *f = fopen("/proc/interrupts", "re");
	unsigned int number = 0;
	char line[4096];

	while (f && !number && fgets(line, sizeof(line), f)) {
		const char *gic = strstr(line, "GICv3");

		if (gic && strstr(gic, "arch_timer") && sscanf(gic, "GICv3 %u", &number) != 1)
			number = 0;
	}
	if (f)
		fclose(f);
	return number;
}

/* A kernel in EL2 takes the hypervisor's timer, one that left EL2 to KVM the physical one. */
static const char *host_mode(void)
{
	switch (timer_interrupt()) {
	case 26:
	case 28:
		return "VHE";
	case 29:
	case 30:
		return "nVHE";
	}
	return NULL;
}

const struct doctor_arch doctor_arch = {
	.no_kvm = "the kernel must be started in EL2 and have KVM: see what the firmware or the "
		  "hypervisor below can do; else use the lab of an x86 machine (`make run ARCH=arm64`)",
	.privileged = "EL1",
	.user = "EL0",
	.check = check,
	.host_mode = host_mode,
};
