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
int apf_arch_vm_init(struct apf_kvm *k);

/* What this KVM, known to be one, offers. */
void apf_arch_probe(int kvm_fd, struct apf_kvm_probe *p);

/* For both (vm.c): a capability, and what a host must have. */
struct kvm_need {
	bool there;
	const char *name, *why;
};
bool apf_host_has(int fd, unsigned int cap);
/* 0, or -EOPNOTSUPP + apf_error that names the first one missing. */
int apf_host_check(const struct kvm_need *need, size_t n);

/* Prepare a new vCPU, of which only its id and descriptors are set. 0, or negative + apf_error. */
int apf_arch_vcpu_init(struct apf_kvm_vcpu *v);

/* Is the vCPU's local APIC in the kernel (I2, N7)? x86's; false elsewhere. */
bool apf_arch_has_lapic(const struct apf_kvm_vcpu *v);

/* May a vCPU that has not run yet be halted for a page, so that interrupts are served (C4 a)? */
bool apf_arch_may_halt(const struct apf_kvm_vcpu *v);

/* KVM's mp_state of a halt that interrupts end. */
extern const uint32_t apf_arch_halted;

/*
 * The vCPU's state as the engine wants it, and its program counter; after a KVM_RUN that
 * was interrupted (a trap, a kick), with which nothing is half done.
 */
int apf_arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc);

/* Make a notification's exception pending with this token (C13). 0 or negative errno. */
int apf_arch_inject(struct apf_kvm_vcpu *v, uint32_t token);

/* Current program counter. */
int apf_arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc);

/* Raise and lower the ready interrupt; contract of apf_engine_ops. Any thread. */
int apf_arch_raise(struct apf_kvm_vcpu *v, uint8_t vector);
void apf_arch_lower(struct apf_kvm_vcpu *v, uint8_t vector);

/* Is this exit the one by which KVM tells that an interrupt has ended our halt? */
bool apf_arch_exit_ends_halt(const struct kvm_run *run);

/*
 * An exit of KVM_RUN. enum next, or negative errno; after -EINTR it is called again at the
 * next run, and does what it did not yet.
 */
int apf_arch_exit(struct apf_kvm_vcpu *v);

/* Fill in vector, irr and isr as far as they can be known. The vCPU stands. */
void apf_arch_inspect(struct apf_kvm_vcpu *v, struct apf_kvm_vcpu_view *out);

/* Before the first run: pages that KVM or the engine reads without trapping. As apf_arch_exit. */
int apf_arch_start(struct apf_kvm_vcpu *v);

#endif
