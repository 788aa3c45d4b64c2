/* SPDX-License-Identifier: MIT */
/*
 * The protocol, without input or output: one state machine per vCPU.
 *
 * The engine makes no system call, knows no thread, clock or KVM, and allocates
 * nothing: a vCPU's whole state lives in one flat block of memory that the
 * caller provides and that holds no pointers but the two tables it was given,
 * so it may be copied, compared and stored.
 *
 * Calls on one vCPU must be serialised by the caller (one lock per vCPU); calls
 * on different vCPUs are independent, since tokens are unique over the VM by
 * construction (the vCPU's id is part of them, C8).
 *
 * What goes in: a fault with the vCPU's state, a finished page, a control write,
 * an acknowledge (also a control write), reset, save, load. What comes out: a
 * verdict, and deliveries through the table of functions.
 */
#ifndef APF_ENGINE_H
#define APF_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The generation of the protocol that a VM offers; exactly one per VM. */
enum apf_abi_id {
	APF_ABI_X86_INT = 1,	/* today's kernels: rows N1-N10 */
	APF_ABI_X86_2010,	/* both notifications as #PF: rows L1-L11 */
	APF_ABI_X86_RFC,	/* ready as an interrupt in the same area: rows I1-I8 */
	APF_ABI_ARM64,		/* both revisions; the guest chooses when it enables: rows A1-A17 */
};

/* "int", "2010", "rfc", "arm64"; NULL: this library has no such generation. Pure. */
const char *apf_abi_name(uint32_t abi);

/*
 * How the engine reaches the guest and the host. All functions are called with
 * the caller's per-vCPU lock held and must not call back into the engine.
 */
struct apf_engine_ops {
	/*
	 * Read or write a 32-bit word of guest memory without side effects (C9):
	 * no fetch, no waiting. 0, or -EFAULT if it cannot be reached now.
	 */
	int (*read32)(void *ctx, uint64_t gpa, uint32_t *value);
	int (*write32)(void *ctx, uint64_t gpa, uint32_t value);
	/* Is [gpa, gpa + len) guest RAM, resident or not (C12); that the guest can write (L1, N7)? */
	bool (*is_ram)(void *ctx, uint64_t gpa, uint64_t len, bool writable);
	/*
	 * Raise the ready interrupt on this vCPU (I5, N1). 1: accepted by its
	 * local APIC; 0: blocked for now, try again later (N6); negative: as 0.
	 */
	int (*raise)(void *ctx, uint32_t vcpu_id, uint8_t vector);
	/*
	 * Inject #PF with error code 0 and CR2 = token (L5); the vCPU is the one of
	 * apf_vcpu_enter and runs after it, even out of a HLT (L11). 0, or negative:
	 * not possible now. Not needed for APF_ABI_X86_INT. arm64: a data abort with
	 * FAR = token and a syndrome of its own (A5, A12).
	 */
	int (*inject)(void *ctx, uint32_t token);
	/*
	 * arm64: the ready interrupt was acknowledged, or does not hold any more: lower
	 * its line (A16). Nothing if it is low. Not needed for x86.
	 */
	void (*lower)(void *ctx, uint32_t vcpu_id, uint8_t irq);
};

/* Policy: what a VMM may choose. All zero is KVM's behaviour. */
struct apf_policy {
	bool never_async;		/* answer controls, but never deliver NP (mode "sync") */
	uint32_t tokens_per_page;	/* C3: K; 0 and 1: a repeated fault halts */
};

struct apf_vcpu_config {
	enum apf_abi_id abi;
	uint32_t vcpu_id;		/* 0..4095 (L3); arm64: 0..65535 (A4) */
	uint32_t max_outstanding;	/* entries of the outstanding set, 1..1048576 */
	bool has_lapic;			/* x86: local APIC emulated by the kernel (N7) */
	struct apf_policy policy;
	uint8_t ready_irq;		/* arm64: INTID of the ready PPI, 16..31; 0: no second revision */
};

struct apf_vcpu;	/* opaque, flat */

/* Bytes that a vCPU with this many entries needs; 0 if out of range. Pure. */
size_t apf_vcpu_size(uint32_t max_outstanding);

/*
 * Set up a vCPU in `mem` (size bytes, 64-byte aligned, the caller's, must
 * outlive the vCPU). ops and ctx are borrowed. Returns 0; -EINVAL: a field of
 * cfg out of range; -ENOSPC: size too small.
 */
int apf_vcpu_init(void *mem, size_t size, const struct apf_vcpu_config *cfg,
		  const struct apf_engine_ops *ops, void *ctx, struct apf_vcpu **out);

/* What the caller must know of the vCPU at the time of a fault (C4, C11, C14). */
struct apf_fault {
	uint64_t gfn;
	bool user;		/* CPL is not 0; arm64: EL0 */
	bool irqs_on;		/* RFLAGS.IF; arm64: PSTATE.I is clear */
	bool irq_shadow;	/* interrupt shadow (STI, MOV SS) */
	bool event;		/* an exception, interrupt or NMI is pending or being injected */
	bool paging;		/* CR0.PG */
	bool smm;
	bool nested;		/* a nested guest runs */
	uint64_t pc;		/* arm64: virtual address of the instruction (A6) */
	bool by_kvm;		/* not the guest's own access: KVM's emulator, or a register write or
				   call that is half done. The verdict is APF_WAIT */
};

enum apf_verdict {
	APF_INJECT,	/* inject #PF with CR2 = token; the reason word is written */
	APF_HALT,	/* C4 (a): halt; an interrupt wakes it and is served */
	APF_WAIT,	/* C4 (b): wait outside the guest, serve nothing */
};

/* Why a fault was decided as it was; for traces and statistics. */
enum apf_why {
	APF_WHY_ASYNC,		/* delivered */
	APF_WHY_DISABLED,	/* the guest has not enabled APF, or policy never_async */
	APF_WHY_KERNEL,		/* privileged code, no send-always */
	APF_WHY_NOPAGING,
	APF_WHY_AREA,		/* area unreachable, or a wake-all not consumed yet */
	APF_WHY_BUSY,		/* the area holds a notification not consumed yet (I4) */
	APF_WHY_REPEAT,		/* C3 */
	APF_WHY_FULL,		/* C5 */
	APF_WHY_IRQS_OFF,
	APF_WHY_SHADOW,
	APF_WHY_EVENT,
	APF_WHY_SMM,
	APF_WHY_NESTED,
	APF_WHY_REGION,		/* the guest says it cannot take an abort here (A6, A11) */
	APF_WHY_KVM,		/* apf_fault.by_kvm */
	APF_WHY_COUNT
};

struct apf_decision {
	enum apf_verdict verdict;
	enum apf_why why;
	uint32_t token;		/* of APF_INJECT */
};

/*
 * A fault on a page that is not here. Decides (C3-C5, C14), and for APF_INJECT
 * writes the reason word and enters the page into the outstanding set (C13). For
 * APF_HALT and APF_WAIT the page is remembered as the one this vCPU stands at,
 * until the next fault. The caller asks for the page, before this call or after it, and
 * looks AFTER it whether the page is here: if so, it calls apf_vcpu_page_done at once.
 */
void apf_vcpu_fault(struct apf_vcpu *v, const struct apf_fault *f, struct apf_decision *d);

/* Bits that tell the caller what to do after a call. */
#define APF_OUT_WAKE	1u	/* end this vCPU's halt or wait now (C7) */
#define APF_OUT_LATER	2u	/* something is queued that could not go out: call
				   apf_vcpu_poll at the next exits and on a bounded
				   back-off timer (L5, I4, N6); an ACK also does it */
#define APF_OUT_KICK	4u	/* a ready wants to be injected: bring this vCPU out of the
				   guest, or out of a halt (L11), and call apf_vcpu_enter */

/*
 * The injection that apf_vcpu_fault asked for could not be made: take the
 * reason word and the entry back (C13). The vCPU stands at the page as after
 * APF_WAIT. Call it before anything else on this vCPU, under the same lock: a
 * ready that has gone out meanwhile cannot be taken back. Returns APF_OUT_WAKE
 * if the page is not waited for any more, else 0.
 */
unsigned int apf_vcpu_undo(struct apf_vcpu *v, uint32_t token);

/*
 * A page has come. Moves every token of gfn to the ready queue and delivers what
 * the gate lets through (C1, C2, C15). A gfn that nobody waits for is fine. Returns
 * APF_OUT_ bits.
 */
unsigned int apf_vcpu_page_done(struct apf_vcpu *v, uint64_t gfn);

/*
 * The same for a page that has failed for good; the retried access then fails. The
 * guest gets its own tokens (N10) or, in x86's generations before INT, one wake-all (L6).
 */
unsigned int apf_vcpu_page_failed(struct apf_vcpu *v, uint64_t gfn);

/* Try again to deliver what is queued; the vCPU may be anywhere. Returns APF_OUT_ bits. */
unsigned int apf_vcpu_poll(struct apf_vcpu *v);

/*
 * The same where the vCPU is outside the guest, in a state that is complete (no I/O
 * half done), and enters it next: a ready that is an exception can go out only here
 * (L5). at: that state; gfn is not looked at. Returns APF_OUT_ bits, never KICK.
 */
unsigned int apf_vcpu_enter(struct apf_vcpu *v, const struct apf_fault *at);

/*
 * Hold deliveries back (true) while the VM is paused for a snapshot: pages may
 * complete, but the guest's memory is not touched. On release call
 * apf_vcpu_poll.
 */
void apf_vcpu_freeze(struct apf_vcpu *v, bool frozen);

/*
 * A control write or read of the guest (x86's APF_MSR_*; arm64 has none). 0, or -EINVAL: answer
 * with #GP, nothing changed (L1, I1, I2, N1-N7). *out gets APF_OUT_ bits (may be NULL).
 */
int apf_vcpu_control_write(struct apf_vcpu *v, uint32_t reg, uint64_t value, unsigned int *out);
int apf_vcpu_control_read(const struct apf_vcpu *v, uint32_t reg, uint64_t *value);

/*
 * arm64: the guest's hypercall APF_ARM64_FN_APF (A1-A3, A10-A13). x: its x1 to x6, all
 * 64 bits of each; result: what it finds in x0 to x3. *out gets APF_OUT_ bits. -EINVAL:
 * the vCPU's generation has no hypercall, nothing changed.
 */
int apf_vcpu_call(struct apf_vcpu *v, const uint64_t x[6], uint64_t result[4], unsigned int *out);

/* Reset or INIT: everything outstanding and the control registers are gone (C10). */
void apf_vcpu_reset(struct apf_vcpu *v);

/*
 * Queue one wake-all, as enabling does (C6, C12); nothing if APF is disabled or
 * one is queued already. Returns APF_OUT_ bits.
 */
unsigned int apf_vcpu_broadcast(struct apf_vcpu *v);

/*
 * Save the whole state as bytes (little-endian, versioned; docs/engine.md).
 * Returns the number of bytes; nothing is written if that is more than size.
 * With buf NULL and size 0: asks for the size.
 */
size_t apf_vcpu_save(const struct apf_vcpu *v, void *buf, size_t size);

/*
 * Load saved bytes into a vCPU with the same id. They are hostile: every field is
 * checked. 0; -EINVAL: malformed or of another vCPU or generation (see
 * apf_error), the vCPU is as after reset; -ENOSPC: more entries than fit: the
 * controls are loaded, the set is not, the caller sends apf_vcpu_broadcast (C12).
 * Nothing is delivered yet: ask again for every page of apf_vcpu_for_each, then
 * call apf_vcpu_poll (an acknowledge of before the save is not repeated).
 */
int apf_vcpu_load(struct apf_vcpu *v, const void *buf, size_t size);

/* Call fn for every page of the outstanding set that has not come yet. */
void apf_vcpu_for_each(const struct apf_vcpu *v, void (*fn)(void *arg, uint64_t gfn, uint32_t token),
		       void *arg);

/* Counts since init. */
struct apf_vcpu_stats {
	uint64_t faults, np, ready, broadcasts, halts, waits, repeats, full;
	uint64_t why[APF_WHY_COUNT];
	uint32_t outstanding;		/* NP delivered, page not come */
	uint32_t queued;		/* page come, ready not delivered */
	uint32_t max_outstanding;	/* most at once */
};
void apf_vcpu_stats(const struct apf_vcpu *v, struct apf_vcpu_stats *s);

/* NPs delivered whose page has not come: the first field a VMM watches. */
uint32_t apf_vcpu_outstanding(const struct apf_vcpu *v);

/* Is the guest's APF enabled in the sense of its ABI? And where is its area? */
bool apf_vcpu_enabled(const struct apf_vcpu *v);
uint64_t apf_vcpu_area(const struct apf_vcpu *v);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
