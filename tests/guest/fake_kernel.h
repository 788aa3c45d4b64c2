/* SPDX-License-Identifier: MIT */
/*
 * A kernel for libapf-guest to live in, without a machine: it writes down what
 * the library asks of it, and plays the host's part through the shared area.
 */
#ifndef TESTS_GUEST_FAKE_KERNEL_H
#define TESTS_GUEST_FAKE_KERNEL_H

#include <apf/guest.h>

#define FAKE_CPUS	2
#define FAKE_LOG	4096
#define FAKE_MEMORY	8192

/* What a fault's address is when the host means this token. */
#define TOKEN		0x5001u
#define BROADCAST	APF_TOKEN_BROADCAST

#define for_each_abi_from(abi, first, last)                                                       \
	for (enum apf_guest_abi abi = (first); abi <= (last); abi++)
#define for_each_abi(abi)	for_each_abi_from(abi, APF_GUEST_X86_2010, APF_GUEST_ARM64_INT)
#define for_each_x86_abi(abi)	for_each_abi_from(abi, APF_GUEST_X86_2010, APF_GUEST_X86_INT)
#define for_each_arm64_abi(abi)	for_each_abi_from(abi, APF_GUEST_ARM64_ABORT, APF_GUEST_ARM64_INT)

enum fake_act { FAKE_WRMSR, FAKE_HVC, FAKE_EOI, FAKE_WAKE, FAKE_SLEEP, FAKE_HALT, FAKE_EVENT };

struct fake_entry {
	enum fake_act act;
	uint32_t a;			/* MSR; operation; token of the waiter; event */
	uint64_t b;			/* value; argument of the call; token of the event */
	uint64_t start, size;		/* of a call */
	uint32_t reason, token;		/* the area's words at that moment */
};

struct fake_kernel {
	struct apf_guest guest;
	uint32_t cpu;
	bool no_sleep;			/* nothing can be scheduled away */
	/* x86 */
	uint32_t cpuid_features;
	bool no_hypervisor;
	uint32_t refused_msr;		/* writing this one raises #GP ... */
	uint64_t refused_bits;		/* ... if any of these bits is set; 0: whatever is written */
	/* arm64 */
	uint64_t features[4];		/* answer of the features call */
	uint64_t info[4];		/* answer of OP_INFO */
	uint64_t refused_call;		/* the argument of a call that is refused ... */
	int64_t refusal;		/* ... in this way; 0: none is */
	void (*on_halt)(struct fake_kernel *k);
	uint32_t halts;
	struct fake_entry log[FAKE_LOG];
	uint32_t logged;
	_Alignas(64) unsigned char memory[FAKE_MEMORY];
	size_t used;
};

/* A fault as both architectures have it: with the syndrome of a notification. */
struct fake_fault {
	uint64_t address;
	bool user, irqs_on;
};

extern const struct apf_guest_ops fake_ops;

/* A kernel with `abi` enabled on all CPUs, at CPU 0, with an empty log. */
void fake_start(struct fake_kernel *k, enum apf_guest_abi abi, bool send_always);

/* The same, but nothing was enabled yet. */
void fake_boot(struct fake_kernel *k);

struct apf_guest_cpu *fake_cpu(struct fake_kernel *k);

/* The library's functions, of the architecture that the generation belongs to. */
int fake_enable(struct fake_kernel *k);
void fake_disable(struct fake_kernel *k);
enum apf_guest_pf fake_notice(struct fake_kernel *k, const struct fake_fault *f,
			      struct apf_guest_notice *n);
/* The whole hook; the waiter is on the stack of the task, which has it back when this returns. */
enum apf_guest_pf fake_fault(struct fake_kernel *k, const struct fake_fault *f);
void fake_ready_interrupt(struct fake_kernel *k);
/* Is ready an exception, too? */
bool fake_ready_is_exception(const struct fake_kernel *k);

/* What the host does. The results are the library's answer. */
enum apf_guest_pf fake_np(struct fake_kernel *k, uint32_t token, struct apf_guest_notice *n);
enum apf_guest_pf fake_np_waits(struct fake_kernel *k, uint32_t token, struct apf_guest_waiter *w);
void fake_ready(struct fake_kernel *k, uint32_t token);

/* How many entries of the log match; the index of the first one, or FAKE_LOG. */
uint32_t fake_count(const struct fake_kernel *k, enum fake_act act, uint32_t a);
uint32_t fake_find(const struct fake_kernel *k, enum fake_act act, uint32_t a);
/* The first that switches APF off. */
uint32_t fake_find_off(const struct fake_kernel *k);

#endif
