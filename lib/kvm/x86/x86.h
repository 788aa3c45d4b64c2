/* SPDX-License-Identifier: MIT */
/* Between the x86 files of the binding. */
#ifndef KVM_X86_H
#define KVM_X86_H

#include "kvm/binding.h"

/* MSRs that make KVM write guest memory. */
#define MSR_WALL_CLOCK_OLD	0x11u
#define MSR_SYSTEM_TIME_OLD	0x12u
#define MSR_WALL_CLOCK		0x4b564d00u
#define MSR_SYSTEM_TIME		0x4b564d01u
#define MSR_STEAL_TIME		0x4b564d03u
#define MSR_PV_EOI		0x4b564d04u
#define MSR_EFER_INDEX		0xc0000080u

#define CR0_PG		(1ull << 31)
#define CR4_PAE		(1ull << 5)
#define CR4_LA57	(1ull << 12)
#define EFER_LME	(1ull << 8)
#define EFER_LMA	(1ull << 10)
#define EFER_NX		(1ull << 11)
#define EFER_SVME	(1ull << 12)
#define EFER_FFXSR	(1ull << 14)
#define EFER_AUTOIBRS	(1ull << 21)

/* What the vCPU's CPUID has of that which the binding asks for. */
struct x86_features {
	bool vmx, svm, nx, lm, ffxsr, auto_ibrs;
};

/* cpuid.c. The vCPU's table, to be freed; and what of it is asked for. 0, or negative errno + apf_error. */
int apf_x86_get_cpuid(const struct apf_kvm_vcpu *v, struct kvm_cpuid2 **out);
int apf_x86_features(const struct apf_kvm_vcpu *v, struct x86_features *f);
/* The leaf with KVM's features, wherever it lies; NULL: the guest is not shown KVM. */
struct kvm_cpuid_entry2 *apf_x86_kvm_features(struct kvm_cpuid2 *c);

/* regs.c. The registers as of the last exit: KVM_RUN's copies, or fetched. 0 or negative errno. */
int apf_x86_regs(struct apf_kvm_vcpu *v, struct kvm_regs *regs, struct kvm_sregs *sregs);
/*
 * The events as of the last exit: *ev is where set_exception takes them from, which may be buf.
 * 0 or negative errno.
 */
int apf_x86_events(struct apf_kvm_vcpu *v, struct kvm_vcpu_events *buf, struct kvm_vcpu_events **ev);
/* The exception in ev, which apf_x86_events gave, becomes the vCPU's. 0 or negative errno. */
int apf_x86_set_exception(struct apf_kvm_vcpu *v, struct kvm_vcpu_events *ev);
/* Where the PDPTEs of a PAE guest lie, which KVM reads without a trap; 0: it is none. */
uint64_t apf_x86_pdptes(const struct kvm_sregs *sregs);
#define PDPTES_SIZE	32u

/* msr.c: the guest's control registers in KVM's own APF. */
extern const struct kernel_controls apf_x86_kernel_controls;

/* Exits, with the answers of apf_arch_exit. msr.c; emul.c: KVM's emulator met a missing page. */
int apf_x86_msr_exit(struct apf_kvm_vcpu *v);
int apf_x86_mmio(struct apf_kvm_vcpu *v);
int apf_x86_emulation_failed(struct apf_kvm_vcpu *v);
/* emul.c. Make resident what the instruction at hand may touch. As apf_run_need. */
int apf_x86_need_instruction(struct apf_kvm_vcpu *v);
/*
 * Is it worth while to run the instruction at pc again? If pages came for it; and some times in a
 * row without, because another vCPU's may have come before this one looked.
 */
bool apf_x86_may_run_again(struct apf_kvm_vcpu *v, uint64_t pc);
int apf_x86_run_again(struct apf_kvm_vcpu *v);	/* GO_ON, or negative errno */

/* walks.c. Does this host's KVM walk the guest's page tables by itself, as the hardware cannot? */
bool apf_x86_software_walks(void);
/*
 * Make resident what lies on the way from a linear address to its page, and the page itself.
 * Ends early where the guest has mapped nothing. As apf_run_need.
 */
int apf_x86_need_linear(struct apf_kvm_vcpu *v, const struct kvm_sregs *s, uint64_t va);
/*
 * Where KVM walks them by itself: make resident all page tables, the descriptor tables and the
 * TSS. v: its own thread, which can be called away; NULL: before there is one. As apf_run_need.
 */
int apf_x86_need_system(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s);
int apf_x86_need_stack(struct apf_kvm_vcpu *v, const struct kvm_sregs *s);
int apf_x86_triple_fault(struct apf_kvm_vcpu *v);

#endif
