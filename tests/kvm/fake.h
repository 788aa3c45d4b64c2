/* SPDX-License-Identifier: MIT */
/*
 * A KVM that the test steers, for the x86 binding: it stands in for ioctl, and for the
 * library's memory. One vCPU, whose guest is a list of steps; nothing happens
 * but what the test makes happen, in one thread, so that every order can be had.
 */
#ifndef TESTS_KVM_FAKE_H
#define TESTS_KVM_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/kvm.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>
#include <apf/kvm.h>
#include <apf/memory.h>

#define FAKE_LEAVES	5u
#define KVM_FD	1000
#define VM_FD	1001
#define FAKE_PAGES	64u
#define FAKE_GPA	0x100000ull		/* where RAM begins: page numbers are not gfns */
#define GPA(page)	(FAKE_GPA + (page) * 4096ull)
#define GFN(page)	(GPA(page) / 4096)
#define AREA		(GPA(1) + 0x40)
#define VECTOR		0xf3u
#define EN_ON		(AREA | APF_EN_ENABLED | APF_EN_INT)
#define L_EN_ON		(AREA | APF_EN_ENABLED)
#define RIP		0x1000u			/* of the first step; each step is one byte long */
#define MSR_EFER	0xc0000080u

struct fake;

/* What the guest does; a list of steps ends with EXIT. */
struct step {
	enum { DO_EXIT, DO_TOUCH, DO_WRMSR, DO_RDMSR, DO_HLT, DO_CALL, DO_READ, DO_WRITE,
	       DO_FETCH, DO_STORE, DO_EFAULT, DO_TRIPLE } what;
	uint64_t a, b;
	void (*call)(struct fake *g);
};

#define EXIT		{ .what = DO_EXIT }
#define TOUCH(page)	{ .what = DO_TOUCH, .a = (page) }
#define WRMSR(msr, v)	{ .what = DO_WRMSR, .a = (msr), .b = (v) }
#define RDMSR(msr)	{ .what = DO_RDMSR, .a = (msr) }
#define HLT		{ .what = DO_HLT }
#define STORE(gpa, v)	{ .what = DO_STORE, .a = (gpa), .b = (v) }	/* by KVM's emulator, as MMIO */
#define EFAULT_ON(page)	{ .what = DO_EFAULT, .a = (page) }	/* KVM's own access, if it is missing */
/* By KVM's emulator, to which a missing page is a device; or an instruction it cannot fetch. */
#define EMULATED_READ(page)	{ .what = DO_READ, .a = (page) }
#define EMULATED_WRITE(page, v)	{ .what = DO_WRITE, .a = (page), .b = (v) }
#define EMULATED_FETCH(page)	{ .what = DO_FETCH, .a = (page) }
#define TRIPLE(page)	{ .what = DO_TRIPLE, .a = (page) }	/* KVM's own walk, if it is missing */
#define CALL(function)	{ .what = DO_CALL, .call = (function) }	/* happens while the guest runs */

struct fake {
	struct apf_kvm *k;
	struct apf_kvm_vcpu *v;
	struct kvm_run *run;

	/* KVM. */
	const struct step *steps;	/* rip counts them */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	uint32_t mp_state;
	bool no_sync_regs, no_msr_filter, no_async_pf_int, no_guest_mode; /* capabilities that it lacks */
	bool software_walks;		/* KVM reads the guest's page tables by itself */
	bool meanwhile;			/* what KVM failed for has come before anybody looks */
	bool apic_off;			/* KVM_SIGNAL_MSI is not taken */
	bool events_refused;		/* KVM_SET_VCPU_EVENTS fails */
	bool no_lapic;			/* none in the kernel */
	bool hlt_exits_off;		/* KVM_CAP_X86_DISABLE_EXITS */
	struct kvm_cpuid_entry2 cpuid[FAKE_LEAVES];	/* [0] to [2]: hypervisors', 1, 0x80000001 */
	bool kick_at_trap;		/* apf_kvm_kick while the next trap is taken */
	bool in_msr, in_store, in_read;	/* the guest waits for the answer to its access */
	bool readonly;			/* RAM is a ROM */
	unsigned int rom;		/* from this page on it is one, a slot of its own; 0: none */
	bool msrs_refused;		/* KVM_GET_MSRS fails */
	bool mask_refused;		/* KVM_SET_SIGNAL_MASK fails */
	bool merge_msr_filter;		/* as apf_kvm_config has it */
	unsigned int unnamed;		/* so many traps come without an address */
	uint64_t msr_exits;		/* the mask that KVM was given */
	uint64_t mask;			/* signals that KVM_RUN does not let in */
	bool handler_ran;		/* of a signal that the thread does not block: KVM_RUN ends */
	bool vmm_signals;		/* SIGUSR2 is the VMM's */
	bool interrupt;			/* one is pending in the APIC */
	bool no_thread;			/* the vCPU is not attached when it is made */
	bool one_task;			/* at an NP the step is tried again; else the next one is run */
	uint64_t kvm_msr[8];		/* of the registers 0x4b564d00 to 07 */
	uint64_t efer;			/* as KVM_SET_MSRS set it */
	struct kvm_msr_filter filter;
	uint8_t bitmap[KVM_MSR_FILTER_MAX_RANGES][1];
	/* Lets the world go on while the vCPU is halted or waits; must not be asked in vain. */
	void (*world)(struct fake *g);
	unsigned int turns;		/* of it */

	/* What the guest saw. */
	unsigned int runs;		/* KVM_RUN */
	unsigned int nps;		/* #PFs taken, whichever it was */
	uint64_t cr2;			/* of the last one */
	unsigned int interrupts;	/* served */
	unsigned int gps;		/* accesses to registers that raised #GP */
	uint64_t read;			/* by the last RDMSR or emulated access */
	unsigned int msis;		/* accepted */
	struct kvm_msi msi;		/* the last one tried */
	uint32_t msi_token;		/* the area's token word when it came */

	/* What the VMM's thread saw. */
	unsigned int signals;		/* sent to it */
	unsigned int on_signal;		/* calls */

	/* Memory. */
	uint8_t ram[FAKE_PAGES * 4096];
	bool here[FAKE_PAGES], lost[FAKE_PAGES];
	unsigned int wanted[FAKE_PAGES];	/* asked for while it was missing */
	unsigned int full;		/* so many wants find the queue full */
	unsigned int refused;		/* did */
	uint64_t comes;			/* on being asked for, this page is here at the second look */
	void (*later)(void *arg);	/* the timer, when it is armed */
	void *later_arg;
	uint64_t later_ns;
	void (*done)(void *ctx, const struct apf_mem_done *d, unsigned int n);	/* the binding's */
	void *done_ctx;
};

extern struct fake fake;

/* A VM with one vCPU as after power-on, its area resident, its first step next. */
void fake_init(enum apf_abi_id abi, enum apf_delivery delivery);
/* The same; flags of the fake that must be set before the VM is created stay. */
int fake_create(enum apf_abi_id abi, enum apf_delivery delivery);
int fake_destroy(void **state);
/* The guest has enabled APF, and its wake-all is consumed. */
void fake_on(enum apf_abi_id abi);

/* The guest runs these steps; what apf_kvm_run returned. */
int fake_run(const struct step *steps);
/* It runs on. */
int fake_go_on(void);

/* Pages arrive: all that were asked for, or one. */
void fake_pages_come(struct fake *g);
void fake_page_comes(unsigned int page, int res);
/* The timer of the queue fires. */
void fake_timer(struct fake *g);

uint32_t fake_word(uint64_t gpa);
void fake_set_word(uint64_t gpa, uint32_t value);

/* Does an access to this register come to user space? */
bool fake_filtered(uint32_t index, uint32_t access);

#endif
