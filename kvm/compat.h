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

/* kvm_run's union as KVM_EXIT_MEMORY_FAULT fills it. */
struct compat_memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size;
};

#endif
