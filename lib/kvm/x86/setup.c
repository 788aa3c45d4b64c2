/* SPDX-License-Identifier: MIT */
/*
 * x86: what a VM needs from KVM: capabilities, and the MSR filter that brings the
 * guest's control writes to user space.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/compat.h"
#include "kvm/x86/x86.h"

void apf_arch_probe(int kvm_fd, struct apf_kvm_probe *p)
{
	const int sync = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

	*p = (struct apf_kvm_probe){
		.irqchip = apf_host_has(kvm_fd, KVM_CAP_IRQCHIP),
		.user_msr = apf_host_has(kvm_fd, KVM_CAP_X86_USER_SPACE_MSR),
		.msr_filter = apf_host_has(kvm_fd, KVM_CAP_X86_MSR_FILTER),
		.exception_payload = apf_host_has(kvm_fd, KVM_CAP_EXCEPTION_PAYLOAD),
		.sync_regs = (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & sync) == sync,
		.signal_msi = apf_host_has(kvm_fd, KVM_CAP_SIGNAL_MSI),
		.async_pf_int = apf_host_has(kvm_fd, KVM_CAP_ASYNC_PF_INT),
		.mce = apf_host_has(kvm_fd, KVM_CAP_MCE),
		.guest_mode_flag = apf_host_has(kvm_fd, KVM_CAP_X86_GUEST_MODE),
		.software_walks = apf_x86_software_walks(),
	};
}

static int check_probe(const struct apf_kvm_probe *p)
{
	const struct kvm_need need[] = {
		{ p->irqchip, "KVM_CAP_IRQCHIP", "ready interrupts go to the in-kernel local APIC" },
		{ p->user_msr, "KVM_CAP_X86_USER_SPACE_MSR", "control writes must reach user space" },
		{ p->msr_filter, "KVM_CAP_X86_MSR_FILTER", "control writes must reach user space" },
		{ p->exception_payload, "KVM_CAP_EXCEPTION_PAYLOAD", "a #PF carries its token in CR2" },
		{ p->signal_msi, "KVM_CAP_SIGNAL_MSI", "ready is an interrupt message" },
	};

	return apf_host_check(need, sizeof(need) / sizeof(*need));
}

static int enable(int vm_fd, uint32_t cap, uint64_t arg, const char *name)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	if (ioctl(vm_fd, KVM_ENABLE_CAP, &c) < 0)
		return apf_error_set(-errno, "kvm: cannot enable %s: %s", name, strerror(errno));
	return 0;
}

/* In a bitmap of the filter a 0 bit sends the access to user space. */
static uint8_t apf_msr_bitmap[1] = { 0xff & ~(1u << 0 | 1u << 4 | 1u << 5) };
static uint8_t clock_msr_bitmap[1] = { 0xff & ~(1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4) };
static uint8_t old_clock_msr_bitmap[1] = { 0xff & ~(1u << 0 | 1u << 1) };
static uint8_t efer_bitmap[1] = { 0xff & ~(1u << 0) };

/*
 * The APF registers exit for reads and writes. With pages missing, so do writes
 * of the registers that make KVM write guest memory behind the trap's back, and
 * of EFER: a vCPU that starts again after INIT writes it with paging off, which is
 * the only sign of an INIT that an in-kernel APIC gives (C10). KVM takes the first
 * range that a register lies in, so that writes of EN are in that of its neighbours too.
 */
static unsigned int our_ranges(const struct apf_kvm *k, struct kvm_msr_filter_range *r)
{
	const uint32_t w = KVM_MSR_FILTER_WRITE, rw = KVM_MSR_FILTER_READ | w;
	unsigned int n = 0;

	if (k->cfg.delivery == APF_DELIVERY_KERNEL)
		return 0;
	if (k->cfg.delivery == APF_DELIVERY_USER) {
		r[n++] = (struct kvm_msr_filter_range){ w, 5, MSR_WALL_CLOCK, clock_msr_bitmap };
		r[n++] = (struct kvm_msr_filter_range){ w, 2, MSR_WALL_CLOCK_OLD, old_clock_msr_bitmap };
		r[n++] = (struct kvm_msr_filter_range){ w, 1, MSR_EFER_INDEX, efer_bitmap };
	}
	r[n++] = (struct kvm_msr_filter_range){ rw, 6, APF_MSR_EN, apf_msr_bitmap };
	return n;
}

int apf_kvm_msr_filter(const struct apf_kvm *k, struct kvm_msr_filter *f)
{
	struct kvm_msr_filter_range ours[KVM_MSR_FILTER_MAX_RANGES];
	unsigned int n = our_ranges(k, ours), theirs = 0;

	for (unsigned int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		if (f->ranges[i].nmsrs)
			theirs = i + 1;
	if (n + theirs > KVM_MSR_FILTER_MAX_RANGES)
		return apf_error_set(-ENOSPC, "kvm: %u ranges of MSRs and %u of the library's; a filter "
				     "has %u", theirs, n, KVM_MSR_FILTER_MAX_RANGES);
	memmove(f->ranges + n, f->ranges, theirs * sizeof(*f->ranges));
	memcpy(f->ranges, ours, n * sizeof(*ours));
	return 0;
}

static int install_filter(struct apf_kvm *k)
{
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };

	if (k->cfg.merge_msr_filter)
		return 0;
	apf_kvm_msr_filter(k, &f);
	if (ioctl(k->cfg.vm_fd, KVM_X86_SET_MSR_FILTER, &f) < 0)
		return apf_error_set(-errno, "kvm: KVM_X86_SET_MSR_FILTER: %s", strerror(errno));
	return 0;
}

static int check_abi(struct apf_kvm *k)
{
	if (!k->cfg.abi)
		k->cfg.abi = APF_ABI_X86_INT;
	if (k->cfg.abi == APF_ABI_X86_INT)
		return 0;
	if (k->cfg.abi != APF_ABI_X86_2010 && k->cfg.abi != APF_ABI_X86_RFC)
		return apf_error_set(-EINVAL, "kvm: x86 has no generation %u", k->cfg.abi);
	if (k->cfg.delivery == APF_DELIVERY_KERNEL)
		return apf_error_set(-EINVAL, "kvm: KVM's own APF offers generation int only, not "
				     "%s; use delivery \"user\" or \"sync\"",
				     apf_abi_name(k->cfg.abi));
	return 0;
}

int apf_arch_vm_init(struct apf_kvm *k)
{
	struct apf_kvm_probe p;
	int err = check_abi(k);

	if (!err)
		err = apf_kvm_probe(k->cfg.kvm_fd, &p);
	if (err)
		return err;
	k->sync_regs = p.sync_regs;
	k->tells_nested = p.guest_mode_flag;
	k->software_walks = p.software_walks;
	if (k->cfg.delivery == APF_DELIVERY_KERNEL) {
		if (!p.async_pf_int)
			return apf_error_set(-EOPNOTSUPP, "kvm: this host's KVM has no asynchronous page "
					     "faults with interrupts; use delivery \"user\" or \"sync\"");
		k->kernel = &apf_x86_kernel_controls;
		return 0;
	}
	err = check_probe(&p);
	if (!err)
		err = enable(k->cfg.vm_fd, KVM_CAP_EXCEPTION_PAYLOAD, 1, "exception payloads");
	if (!err)
		err = enable(k->cfg.vm_fd, KVM_CAP_X86_USER_SPACE_MSR,
			     KVM_MSR_EXIT_REASON_FILTER | k->cfg.msr_exits, "MSR exits");
	return err ? err : install_filter(k);
}

bool apf_kvm_owns_msr(uint32_t index)
{
	return index == APF_MSR_EN || index == APF_MSR_INT || index == APF_MSR_ACK;
}
