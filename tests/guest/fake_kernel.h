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

enum fake_act { FAKE_WRMSR, FAKE_EOI, FAKE_WAKE, FAKE_SLEEP, FAKE_HALT, FAKE_EVENT };

struct fake_entry {
	enum fake_act act;
	uint32_t a;			/* MSR; token of the waiter; event */
	uint64_t b;			/* value; token of the event */
	uint32_t reason, token;		/* the area's words at that moment */
};

struct fake_kernel {
	struct apf_guest guest;
	uint32_t cpu;
	bool no_sleep;			/* nothing can be scheduled away */
	uint32_t cpuid_features;
	bool no_hypervisor;
	uint32_t refused_msr;		/* writing this one raises #GP ... */
	uint64_t refused_bits;		/* ... if any of these bits is set; 0: whatever is written */
	void (*on_halt)(struct fake_kernel *k);
	uint32_t halts;
	struct fake_entry log[FAKE_LOG];
	uint32_t logged;
	_Alignas(64) unsigned char memory[FAKE_MEMORY];
	size_t used;
};

extern const struct apf_guest_ops fake_ops;

/* A kernel with `abi` enabled on all CPUs, at CPU 0, with an empty log. */
void fake_start(struct fake_kernel *k, enum apf_guest_abi abi, bool send_always);

/* The same, but nothing was enabled yet. */
void fake_boot(struct fake_kernel *k);

struct apf_guest_cpu *fake_cpu(struct fake_kernel *k);

/* What the host does. The results are the library's answer. */
enum apf_guest_pf fake_np(struct fake_kernel *k, uint32_t token, struct apf_guest_notice *n);
enum apf_guest_pf fake_np_waits(struct fake_kernel *k, uint32_t token, struct apf_guest_waiter *w);
void fake_ready(struct fake_kernel *k, uint32_t token);

/* How many entries of the log match; the index of the first one, or FAKE_LOG. */
uint32_t fake_count(const struct fake_kernel *k, enum fake_act act, uint32_t a);
uint32_t fake_find(const struct fake_kernel *k, enum fake_act act, uint32_t a);

#endif
