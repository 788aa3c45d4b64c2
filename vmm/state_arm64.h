/* SPDX-License-Identifier: MIT */
/* Between the files of the arm64 machine that know KVM. */
#ifndef VMM_STATE_ARM64_H
#define VMM_STATE_ARM64_H

#include "internal.h"

/* gic_arm64.c: the interrupt controller, KVM's GICv3. Before the first vCPU; after the last one. */
int vmm_gic_create(struct vmm *vm);
int vmm_gic_init(struct vmm *vm);
/* Add the section of what all vCPUs share, or of one vCPU's part; and load it: hostile bytes. */
int vmm_gic_save(struct vmm *vm, struct vmm_snapshot_writer *w);
int vmm_gic_save_vcpu(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);
int vmm_gic_load(struct vmm *vm, const struct vmm_snapshot *s);
int vmm_gic_load_vcpu(struct vmm_vcpu *v, const struct vmm_snapshot *s);

#endif
