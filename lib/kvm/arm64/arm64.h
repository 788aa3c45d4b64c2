/* SPDX-License-Identifier: MIT */
/* Between the arm64 files of the binding. */
#ifndef KVM_ARM64_H
#define KVM_ARM64_H

#include "kvm/binding.h"

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(regs.name))
#define REG_X(n)	(CORE_REG(regs[0]) + 2 * (n))	/* counted in 32-bit words */

/* regs.c. 0 or negative errno. */
int apf_arm64_get_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t *value);
int apf_arm64_set_reg(const struct apf_kvm_vcpu *v, uint64_t id, uint64_t value);

#endif
