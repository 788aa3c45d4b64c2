/* SPDX-License-Identifier: MIT */
/*
 * arm64: what a VM needs from KVM. Capabilities, and the SMCCC filter that brings
 * the guest's calls to user space.
 */
#include <errno.h>
#include <linux/psci.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <abi/apf_abi_arm64.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/compat.h"

#define READY_PPI	22	/* free: timers have 26 to 30, the GIC 25, the PMU 23 */
#define FIRST_PPI	16
#define LAST_PPI	31

static bool has_filter(int vm_fd)
{
	struct kvm_device_attr attr = { .group = KVM_ARM_VM_SMCCC_CTRL,
					.attr = KVM_ARM_VM_SMCCC_FILTER };

	return ioctl(vm_fd, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

/* The filter is an attribute of a VM: ask one that is made for it. */
static bool host_has_filter(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, bits > 0 ? bits : 0);
	bool there;

	if (vm_fd < 0)
		return false;
	there = has_filter(vm_fd);
	close(vm_fd);
	return there;
}

void apf_arch_probe(int kvm_fd, struct apf_kvm_probe *p)
{
	*p = (struct apf_kvm_probe){
		.irqchip = apf_host_has(kvm_fd, KVM_CAP_IRQCHIP),
		.ext_dabt = apf_host_has(kvm_fd, KVM_CAP_ARM_INJECT_EXT_DABT),
		.suspend = apf_host_has(kvm_fd, KVM_CAP_ARM_SYSTEM_SUSPEND),
		.smccc_filter = host_has_filter(kvm_fd),
	};
}

static int check_host(int vm_fd)
{
	const struct kvm_need need[] = {
		{ has_filter(vm_fd), "the SMCCC filter of Linux 6.4", "the guest's calls must reach "
		  "user space" },
		{ apf_host_has(vm_fd, KVM_CAP_ARM_INJECT_EXT_DABT), "KVM_CAP_ARM_INJECT_EXT_DABT",
		  "a notification is a data abort" },
		{ apf_host_has(vm_fd, KVM_CAP_IRQCHIP), "an in-kernel GIC", "ready is one of its interrupts" },
	};

	return apf_host_check(need, sizeof(need) / sizeof(*need));
}

static int forward(int vm_fd, uint32_t function)
{
	struct compat_smccc_filter f = { .base = function, .nr_functions = 1,
					 .action = COMPAT_SMCCC_FWD_TO_USER };
	struct kvm_device_attr attr = { .group = KVM_ARM_VM_SMCCC_CTRL,
					.attr = KVM_ARM_VM_SMCCC_FILTER,
					.addr = (uintptr_t)&f };

	if (ioctl(vm_fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
		return apf_error_set(-errno, "kvm: SMCCC filter for 0x%x: %s", function,
				     strerror(errno));
	return 0;
}

/*
 * CPU_OFF too: a CPU that the guest switches off and on again has new registers, and
 * KVM does both without a word to user space (C10). It is the only way there: CPU_ON is
 * refused for a CPU that is on, KVM's CPU_SUSPEND keeps the registers, and what resets
 * the whole system exits to the VMM.
 */
static int install_filter(struct apf_kvm *k)
{
	int err = forward(k->cfg.vm_fd, APF_ARM64_FN_APF);

	if (!err)
		err = forward(k->cfg.vm_fd, PSCI_0_2_FN_CPU_OFF);
	if (!err && k->cfg.delivery == APF_DELIVERY_USER)
		err = forward(k->cfg.vm_fd, APF_ARM64_FN_FEATURES);
	return err;
}

static int check_config(struct apf_kvm_config *cfg)
{
	if (!cfg->abi)
		cfg->abi = APF_ABI_ARM64;
	if (!cfg->ready_ppi)
		cfg->ready_ppi = READY_PPI;
	if (cfg->abi != APF_ABI_ARM64)
		return apf_error_set(-EINVAL, "kvm: arm64 has no generation %u", cfg->abi);
	if (cfg->ready_ppi < FIRST_PPI || cfg->ready_ppi > LAST_PPI)
		return apf_error_set(-EINVAL, "kvm: interrupt %u is not a PPI (%u to %u)",
				     cfg->ready_ppi, FIRST_PPI, LAST_PPI);
	if (cfg->delivery == APF_DELIVERY_KERNEL)
		return apf_error_set(-EOPNOTSUPP, "kvm: KVM has no asynchronous page faults on arm64; "
				     "use delivery \"user\" or \"sync\"");
	return 0;
}

/* In mode sync a host without the filter will do: no guest there was ever offered APF. */
int apf_arch_vm_init(struct apf_kvm *k)
{
	int err = check_config(&k->cfg);

	if (!err && !apf_host_has(k->cfg.vm_fd, KVM_CAP_ARM_SYSTEM_SUSPEND))
		k->cfg.halt = APF_HALT_WAIT;	/* before Linux 6.0 */
	if (!err && k->cfg.delivery == APF_DELIVERY_SYNC && !has_filter(k->cfg.vm_fd))
		return 0;
	if (!err)
		err = check_host(k->cfg.vm_fd);
	return err ? err : install_filter(k);
}
