/* SPDX-License-Identifier: MIT */
/*
 * Kernel interfaces newer than the headers of Debian 12 (Linux 6.1). Whether the
 * running kernel has them is probed, never assumed.
 */
#ifndef KVM_COMPAT_H
#define KVM_COMPAT_H

#include <stdint.h>

#include <linux/kvm.h>

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

#ifndef KVM_RUN_X86_GUEST_MODE
#define KVM_RUN_X86_GUEST_MODE (1 << 2)
#endif

#ifndef KVM_CAP_X86_GUEST_MODE
#define KVM_CAP_X86_GUEST_MODE 238
#endif

/* arm64: calls of a guest that KVM hands to user space, set on the VM. */
#ifndef KVM_ARM_VM_SMCCC_CTRL
#define KVM_ARM_VM_SMCCC_CTRL	0
#define KVM_ARM_VM_SMCCC_FILTER	0
#endif

#define COMPAT_SMCCC_FWD_TO_USER	2

struct compat_smccc_filter {
	uint32_t base;
	uint32_t nr_functions;
	uint8_t action;
	uint8_t pad[15];
};

/* kvm_run's union as KVM_EXIT_MEMORY_FAULT fills it. */
struct compat_memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size;
};

#endif
