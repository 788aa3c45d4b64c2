/* SPDX-License-Identifier: MIT */
/*
 * What each architecture supplies to the binding: a folder each, x86/ and arm64/, chosen in
 * meson.build.
 */
#ifndef KVM_ARCH_H
#define KVM_ARCH_H

#include "kvm/binding.h"

/*
 * Check the configuration and fill in its defaults, probe and enable what the VM needs,
 * install filters. 0; -EINVAL, -EOPNOTSUPP + apf_error.
 */
int arch_vm_init(struct apf_kvm *k);

/* What this KVM, known to be one, offers. */
void arch_probe(int kvm_fd, struct apf_kvm_probe *p);

/* For both: a capability, and what a host must have. */
struct kvm_need {
	bool there;
	const char *name, *why;
};
bool kvm_has(int fd, unsigned int cap);
/* 0, or -EOPNOTSUPP + apf_error that names the first one missing. */
int kvm_check_needs(const struct kvm_need *need, size_t n);

/* Prepare a new vCPU, of which only its id and descriptors are set. 0, or -EINVAL + apf_error. */
int arch_vcpu_init(struct apf_kvm_vcpu *v);

/* KVM's mp_state of a halt that interrupts end. */
extern const uint32_t arch_halted;

/*
 * The vCPU's state as the engine wants it, and its program counter; after a KVM_RUN that
 * was interrupted (a trap, a kick), with which nothing is half done.
 */
int arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc);

/* Make a notification's exception pending with this token (C13). 0 or negative errno. */
int arch_inject(struct apf_kvm_vcpu *v, uint32_t token);

/* Current program counter. */
int arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc);

/* Raise and lower the ready interrupt; contract of apf_engine_ops. Any thread. */
int arch_raise(struct apf_kvm_vcpu *v, uint8_t vector);
void arch_lower(struct apf_kvm_vcpu *v, uint8_t vector);

/*
 * An exit of KVM_RUN: 1 = it was the library's and is dealt with, 0 = the VMM's,
 * negative errno = tell the VMM.
 */
int arch_exit(struct apf_kvm_vcpu *v);

/* Pages that KVM or the engine reads without trapping: make them resident. */
int arch_pin(struct apf_kvm_vcpu *v);

#endif
