/* SPDX-License-Identifier: MIT */
/*
 * The binding: engine and memory on KVM. The embedding VMM owns the VM, its
 * vCPUs, their threads and its devices and stays in charge; it hands in
 * descriptors, the kvm_run pages and the layout of RAM, and calls apf_kvm_run
 * where it called ioctl(KVM_RUN).
 */
#ifndef APF_KVM_H
#define APF_KVM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apf/engine.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct apf_kvm;
struct apf_kvm_vcpu;
struct apf_mem;
struct apf_mem_done;
struct kvm_run;
struct kvm_cpuid2;

enum apf_delivery {
	APF_DELIVERY_SYNC,	/* no NP; controls of a restored guest are still answered */
	APF_DELIVERY_KERNEL,	/* KVM's own APF; this library only resolves its page faults */
	APF_DELIVERY_USER,	/* libapf's */
};

enum apf_halt {
	/*
	 * C4 (a) by KVM_SET_MP_STATE: interrupts are served. A vCPU waits instead where the VMM
	 * has disabled HLT exits (found out when it is added, if its CPUID shows KVM; else choose
	 * APF_HALT_WAIT), or where it has no local APIC in the kernel.
	 */
	APF_HALT_AUTO,
	APF_HALT_WAIT,		/* wait outside the guest instead (emulated SVM with several vCPUs) */
};

/* One KVM memory slot of guest RAM. Multiples of apf_mem_page_size. */
struct apf_kvm_slot {
	uint64_t gpa;		/* guest-physical address */
	uint64_t size;
	uint64_t offset;	/* in the memfd */
	bool readonly;		/* KVM_MEM_READONLY: the guest's writes are the VMM's, never RAM's */
};

struct apf_kvm_config {
	int kvm_fd, vm_fd;		/* borrowed */
	struct apf_mem *mem;		/* borrowed; apf_kvm_create takes its done callback */
	const struct apf_kvm_slot *slots;	/* copied; at most 8; no two share addresses or RAM */
	unsigned int nr_slots;
	enum apf_delivery delivery;
	enum apf_abi_id abi;		/* the generation offered; 0 = the architecture's: x86 INT (the
					   only one of KERNEL), arm64 ARM64 */
	enum apf_halt halt;
	struct apf_policy policy;
	uint32_t max_vcpus;		/* 1..4096 */
	uint32_t max_outstanding;	/* per vCPU; 0 = 1024 */
	int kick_signal;		/* 0 = SIGUSR1; blocked in vCPU threads by this library */
	/*
	 * x86: KVM_CAP_X2APIC_API is on with both of its flags (32-bit ids, and no broadcast quirk,
	 * without which a message to id 255 goes to everybody): ids from 255 up.
	 */
	bool x2apic_ids;
	/* x86: KVM_MSR_EXIT_REASON_ bits that the VMM wants for itself; such exits are its own. */
	uint32_t msr_exits;
	/* x86: the VMM has an MSR filter of its own: it installs what apf_kvm_msr_filter has merged. */
	bool merge_msr_filter;
	uint8_t ready_ppi;		/* arm64: INTID of the ready interrupt, 16..31; 0 = 22 */
	/*
	 * Signals of the VMM's own that shall end apf_kvm_run: blocked in vCPU threads by this
	 * library and let in where it waits, so that none is lost. on_signal is called for each in
	 * the vCPU's thread, outside of KVM_RUN, before apf_kvm_run returns -EINTR. Not SIGBUS, not
	 * the kick signal. NULL: none.
	 */
	void (*on_signal)(void *ctx, uint32_t vcpu_id, const siginfo_t *si);
	void *on_signal_ctx;
	sigset_t signals;
};

/*
 * Set up the VM: probes and enables the capabilities, installs the filter that brings
 * the guest's control writes here (x86: of MSRs; arm64: of SMCCC calls). x86: after
 * KVM_CREATE_IRQCHIP. Before the first vCPU runs. Memory slots are the VMM's to
 * register, with addresses in view A. From its return on the memory tells the binding, and
 * nobody else, of its pages (apf_mem_set_done). Not on the pager's thread. 0; -EOPNOTSUPP:
 * the host lacks something (apf_error says what; arm64: delivery KERNEL, which KVM has not);
 * -EINVAL, -ENOMEM.
 */
int apf_kvm_create(const struct apf_kvm_config *cfg, struct apf_kvm **out);
/*
 * After all vCPU threads have ended (or detached) and after apf_mem_destroy (which ends the
 * pager's callbacks into the binding).
 */
void apf_kvm_destroy(struct apf_kvm *k);

struct kvm_msr_filter;
/*
 * x86 only, with cfg.merge_msr_filter. Put the library's ranges in front of those in f, since KVM
 * takes the first range that a register lies in; the VMM then installs f (KVM_X86_SET_MSR_FILTER)
 * before the first vCPU runs, and merges again when its own ranges change. The bitmaps of the
 * ranges put in are the library's, constant. Any thread. 0; -ENOSPC: more than 16 ranges.
 */
int apf_kvm_msr_filter(const struct apf_kvm *k, struct kvm_msr_filter *f);

/*
 * x86 only. Edit a CPUID table before KVM_SET_CPUID2: announces in KVM's leaves, wherever they
 * lie, what the delivery mode and the generation offer (N5: bits 4 and 14, never 10; I8, 2010: 4
 * alone; sync: none). Mode user on a host that does not tell when a nested guest runs
 * (apf_kvm_probe.guest_mode_flag): takes VMX and SVM out, too (C14). Any thread.
 */
void apf_kvm_cpuid(const struct apf_kvm *k, struct kvm_cpuid2 *cpuid);

/*
 * Bind a vCPU after KVM_CREATE_VCPU and KVM_SET_CPUID2 or KVM_ARM_VCPU_INIT; borrowed fd
 * and run page. Not while another is added or removed. 0; -EEXIST: the id is bound already;
 * -EOPNOTSUPP: x86, mode user: its CPUID has VMX or SVM, and the host does not tell when a nested
 * guest runs (C14); -EINVAL, -ENOMEM.
 */
int apf_kvm_vcpu_add(struct apf_kvm *k, uint32_t id, int fd, struct kvm_run *run,
		     struct apf_kvm_vcpu **out);

/*
 * Call in the vCPU's thread before the first run: blocks SIGBUS, the kick signal and
 * cfg.signals, and lets them in only where the library waits. A vCPU may go from thread to
 * thread: detach it in the one, attach it in the other. 0; -EBUSY: another thread has it; or
 * what KVM_SET_SIGNAL_MASK said.
 */
int apf_kvm_vcpu_attach(struct apf_kvm_vcpu *v);

/*
 * Call in the vCPU's thread, outside apf_kvm_run, before the thread ends: after it no signal
 * is sent to the thread. What the vCPU stands at is kept. Its signals stay blocked.
 */
void apf_kvm_vcpu_detach(struct apf_kvm_vcpu *v);

/*
 * Unbind a vCPU that has no thread: its fd and run page are not used any more, what is
 * outstanding is dropped, its counts leave apf_kvm_stats, v is invalid and the id may be
 * used again. Any thread; not while another vCPU is added or removed. 0; -EBUSY: it is attached.
 */
int apf_kvm_vcpu_remove(struct apf_kvm_vcpu *v);

/*
 * Run until the VMM has something to do. vCPU's thread. The first run makes the pages resident
 * that KVM or the engine reads without a trap (the area; x86: PDPTEs of a PAE guest). Returns
 *   0          an exit that is the VMM's: look at run->exit_reason
 *   -EINTR     the VMM is wanted:
 *              - apf_kvm_kick was called; it ends whatever the vCPU waits for;
 *              - a signal of cfg.signals came, and on_signal was called; the same;
 *              - run->immediate_exit is set, which it stays: nothing of the guest has run, but
 *                pending I/O is completed, as KVM_RUN alone would do it;
 *              - a signal that the thread does not block came, and its handler has run. As with
 *                KVM_RUN alone it does not show if it came just before the guest was entered:
 *                let the handler call apf_kvm_kick.
 *              The library's own signals never come out. The state may be saved unless
 *              apf_kvm_vcpu_pending says otherwise.
 *   -EIO       the guest needs a page that is lost for good; *gpa of apf_kvm_lost
 *   -EHWPOISON a real memory error of the host, same
 *   other      what KVM_RUN said
 */
int apf_kvm_run(struct apf_kvm_vcpu *v);

/*
 * Did apf_kvm_run return while an access of the guest's that KVM has begun (of its
 * emulator, a register write, a call) waits for a page? The next apf_kvm_run goes on with it; till
 * then the vCPU's registers must be neither saved nor changed, and apf_kvm_vcpu_save refuses.
 * To have it completed and nothing more, set run->immediate_exit and call apf_kvm_run until
 * this is false: it waits for the page, and a kick ends the wait. vCPU's thread, or stopped.
 */
bool apf_kvm_vcpu_pending(const struct apf_kvm_vcpu *v);

/*
 * Make apf_kvm_run return -EINTR at once (once per kick or burst of kicks), or the next time
 * it is called. Any thread, any signal handler; not after apf_kvm_vcpu_remove.
 */
void apf_kvm_kick(struct apf_kvm_vcpu *v);

/* Guest-physical address of the page that -EIO or -EHWPOISON is about. */
uint64_t apf_kvm_lost(const struct apf_kvm_vcpu *v);

/*
 * While all vCPUs are out of apf_kvm_run: hold deliveries back (true) so that
 * guest memory stands still for a snapshot, and let them go again.
 */
void apf_kvm_freeze(struct apf_kvm *k, bool frozen);

/*
 * Save this vCPU's APF state; vCPU out of apf_kvm_run, frozen. Returns bytes
 * needed; nothing is written if that is more than size. 0 + apf_error: not now, an access waits
 * for a page (apf_kvm_vcpu_pending), or KVM does not tell. In kernel mode the control registers are
 * read from KVM and the outstanding set is absent.
 * *mp_state: in: what KVM_GET_MP_STATE said; out: what a snapshot must store (C16).
 */
size_t apf_kvm_vcpu_save(struct apf_kvm_vcpu *v, void *buf, size_t size, uint32_t *mp_state);

/*
 * Load it, as the last step of restoring a vCPU (x86: after LAPIC, MSRs, registers,
 * events, mp_state; MSRs APF_MSR_* must not be given to KVM by the VMM; arm64: after
 * registers, mp_state and the GIC with its line levels). Asks for
 * the outstanding pages again, or sends one wake-all where the set is not in the
 * bytes or the delivery mode differs (C12). vCPU's thread or stopped. 0; -EINVAL + apf_error:
 * malformed, or of another vCPU or generation; -ENOMEM.
 */
int apf_kvm_vcpu_load(struct apf_kvm_vcpu *v, const void *buf, size_t size,
		      enum apf_delivery saved_as);

/*
 * Drop all APF state of the vCPU: the VMM resets it (C10). vCPU's thread or stopped.
 * Not needed where the guest does it: INIT, PSCI CPU_OFF.
 */
void apf_kvm_vcpu_reset(struct apf_kvm_vcpu *v);

/*
 * x86 only. Make the pages resident that KVM will write or read because of these MSRs
 * (kvmclock, wall clock, steal time, PV EOI): call before KVM_SET_MSRS when a
 * vCPU is restored. Waits. 0 or -EIO + apf_error: lost for good.
 */
struct kvm_msrs;
int apf_kvm_need_msrs(struct apf_kvm *k, const struct kvm_msrs *msrs);

/*
 * x86 only. Make the pages resident that KVM reads because of these registers: the PDPTEs of a PAE
 * guest; where KVM walks page tables by itself (apf_kvm_probe.software_walks) and user space delivers
 * also all of these, the IDT, the GDT and the TSS with its stacks. Call before KVM_SET_SREGS when a vCPU
 * is restored. Waits. 0, -ENOMEM or -EIO + apf_error.
 */
struct kvm_sregs;
int apf_kvm_need_sregs(struct apf_kvm *k, const struct kvm_sregs *sregs);

/* x86 only. Is this MSR the library's, so that the VMM must keep it out of KVM_SET_MSRS? */
bool apf_kvm_owns_msr(uint32_t index);

struct apf_kvm_stats {
	struct apf_vcpu_stats engine;	/* summed over the vCPUs; max_outstanding: most at once in the VM */
	uint64_t traps;			/* SIGBUS taken */
	uint64_t raced;			/* the page was here by the time we looked */
	uint64_t emulated;		/* accesses of KVM's emulator to missing pages, completed */
	uint64_t kicks;
	uint64_t msi_blocked;		/* N6 */
};
/* Counts since creation, of the vCPUs that are bound; of one vCPU. Any thread, at any time. */
void apf_kvm_stats(const struct apf_kvm *k, struct apf_kvm_stats *s);
void apf_kvm_vcpu_stats(const struct apf_kvm_vcpu *v, struct apf_vcpu_stats *s);

/* What the area holds now: false and zeroes if there is none, or it is not resident. Any thread. */
bool apf_kvm_vcpu_words(struct apf_kvm_vcpu *v, uint32_t *reason, uint32_t *token);

/* What a vCPU that does not get on is made of. */
struct apf_kvm_vcpu_view {
	struct apf_vcpu_stats engine;	/* outstanding, queued, ... */
	bool enabled;			/* APF, by the guest */
	uint64_t area;			/* guest-physical */
	uint32_t reason, token;		/* its words; 0 if it cannot be read */
	uint64_t pc;
	bool interrupts;		/* the guest takes them */
	uint32_t mp_state;		/* KVM_MP_STATE_ */
	uint8_t vector;			/* of the ready interrupt, 0: none; arm64: its INTID */
	int8_t irr, isr;		/* x86: its bits in the local APIC; -1: not known */
};
/* For reports: vCPU out of apf_kvm_run, or its thread has ended. 0 or negative errno + apf_error. */
int apf_kvm_vcpu_inspect(struct apf_kvm_vcpu *v, struct apf_kvm_vcpu_view *out);

/* What this host's KVM offers, for `apf doctor`. 0 or negative errno. */
struct apf_kvm_probe {
	bool irqchip, user_msr, msr_filter, exception_payload, sync_regs, signal_msi, async_pf_int;
	bool mce, guest_mode_flag;
	bool software_walks;	/* KVM walks page tables by itself: they are fetched before a vCPU starts */
	bool smccc_filter, ext_dabt, suspend;	/* arm64; the others but irqchip are x86's */
};
int apf_kvm_probe(int kvm_fd, struct apf_kvm_probe *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
