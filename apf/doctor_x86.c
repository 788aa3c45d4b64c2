/* SPDX-License-Identifier: MIT */
/* apf doctor: what an x86 host's KVM offers. */
#include <unistd.h>

#include "doctor.h"

static void check_tracing(struct doctor *d)
{
	static const char id[] = "events/kvm/kvm_async_pf_not_present/id";
	bool ok = false;
	char path[128];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", i ? "/sys/kernel/debug/tracing"
			 : "/sys/kernel/tracing", id);
		ok |= access(path, R_OK) == 0;
	}
	doctor_add(d, "kvm-tracepoints", ok, FOR_NUMBERS,
		   "run as root with tracefs mounted (mount -t tracefs none /sys/kernel/tracing)",
		   "how often KVM's own asynchronous page faults act, for the numbers of mode kernel");
}

static void check(struct doctor *d, const struct apf_kvm_probe *p)
{
	static const char newer[] = "use a newer kernel";

	doctor_add(d, "irqchip", p->irqchip, FOR_USER | FOR_KERNEL, newer,
		   "interrupt controllers in the kernel");
	doctor_add(d, "user-msr", p->user_msr, FOR_USER, newer, "KVM_CAP_X86_USER_SPACE_MSR (5.10)");
	doctor_add(d, "msr-filter", p->msr_filter, FOR_USER, newer, "KVM_CAP_X86_MSR_FILTER (5.10)");
	doctor_add(d, "exception-payload", p->exception_payload, FOR_USER, newer,
		   "KVM_CAP_EXCEPTION_PAYLOAD (4.20): a page fault with a token in CR2");
	doctor_add(d, "signal-msi", p->signal_msi, FOR_USER, newer,
		   "KVM_CAP_SIGNAL_MSI: the ready interrupt");
	doctor_add(d, "sync-regs", p->sync_regs, 0, "works without, only slower",
		   "KVM_CAP_SYNC_REGS: saves system calls");
	doctor_add(d, "async-pf-int", p->async_pf_int, FOR_KERNEL,
		   "mode kernel cannot run here; the others can",
		   "KVM's own asynchronous page faults (5.8)");
	doctor_add(d, "guest-mode-flag", p->guest_mode_flag, 0,
		   "only matters for nested guests, which apf does not offer",
		   "KVM tells when a nested guest runs (6.12)");
	doctor_add(d, "page-walks", !p->software_walks, FOR_LAZY_TABLES,
		   "mode user fetches all of a guest's page tables before it starts",
		   p->software_walks ? "KVM walks a guest's page tables in software: a missing one does not trap"
				     : "the processor walks a guest's page tables: a missing one traps");
	check_tracing(d);
}

static const char *host_mode(void)
{
	return NULL;
}

const struct doctor_arch doctor_arch = {
	.no_kvm = "load kvm_intel or kvm_amd, switch virtualization on in the firmware or give this VM "
		  "nested virtualization; else use the lab (`make run` does)",
	.privileged = "ring 0",
	.user = "ring 3",
	.check = check,
	.host_mode = host_mode,
};
