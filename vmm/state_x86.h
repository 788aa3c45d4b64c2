/* SPDX-License-Identifier: MIT */
/* Between the files of the x86 machine that know KVM. */
#ifndef VMM_STATE_X86_H
#define VMM_STATE_X86_H

#include "internal.h"

/* cpuid.c: what the guest sees of the processor. Choose it and set it in KVM. */
int vmm_cpuid_init(struct vmm_vcpu *v);
/* The same from a snapshot: hostile bytes. */
int vmm_cpuid_load(struct vmm_vcpu *v, const struct vmm_bytes *bytes);
/* Add section cpuid. */
int vmm_cpuid_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);

#endif
