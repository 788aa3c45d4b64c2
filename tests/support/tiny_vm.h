/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine, mostly with one vCPU, and a guest of a few hundred instructions, for tests
 * on real KVM that do without the VMM. tiny_vm_x86.c and tiny_guest_x86.S, or those of arm64,
 * know the processor. All of the guest's RAM is missing when it starts.
 */
#ifndef TESTS_SUPPORT_TINY_VM_H
#define TESTS_SUPPORT_TINY_VM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/kvm.h>

#include <apf/apf.h>

#define RAM		(16u << 20)
#define HALF		(RAM / 2)	/* each half is a KVM memory slot */
#define PAGE		4096u
#define MAX_EVENTS	4096
#define MAX_VCPUS	4

/* Among the flags of OP_ENABLE: the kernel names regions first, and waits between them. */
#define WITH_REGIONS	(1u << 16)

/* Layout of RAM; the guests know it too. */
#define CODE		0x10000u
#define STACK_TOP	0x28000u
#define USER_STACK_TOP	0x2c000u
#define AREA		0x30000u
#define DATA		0x100000u	/* from here on every word of a page is pattern(page) */

/* What the guest does; numbers that the guests know. */
enum scenario {
	USER_READS = 0,			/* in user mode, interrupts on */
	KERNEL_READS = 1,		/* interrupts on, a timer ticks every 5 ms */
	KERNEL_READS_IRQS_OFF = 2,
	USER_READS_HALTING = 3,		/* waits for ready in HLT or WFI, not in a loop */
	BAD_CONTROL = 4,
	X86_STRING_OUT = 5,
	X86_SLOT_TAKEN = 6,		/* the reason word is 2 at the first read, 0 at the second */
	ARM64_USER_WRITES = 7,
	ARM64_USER32_READS = 8,		/* the task is an AArch32 one */
	ARM64_CPU_OFF = 9,		/* at the first NP */
	ARM64_CPU_ON = 10,		/* vCPU 1: ARM64_CPU_OFF, when it is off USER_READS */
};

/* What it tells, by a 32-bit port (x86) or MMIO (arm64) write. */
enum {
	EV_NP = 0x500,			/* token */
	EV_READY = 0x504,		/* token */
	EV_VALUE = 0x508,		/* the word that was read */
	EV_END = 0x50c,
	EV_TICK = 0x510,
	EV_FAULT = 0x514,		/* an exception that is no notification */
	EV_RESULT = 0x518,		/* x86: a #GP; arm64: w0 of a call */
};

struct event {
	unsigned int what;
	uint32_t value;
};

/* Zero is what most tests want. */
struct options {
	bool sync;			/* mode sync, not user */
	enum apf_abi_id abi;		/* x86: the generation, which the guest speaks too */
	uint32_t enable;		/* arm64: flags of OP_ENABLE; 0 = second revision */
	enum scenario scenario;
	const char *filters;		/* of the store */
	uint64_t first;			/* offset of the data that the guest touches; 0 = DATA */
	unsigned int pages;		/* how many host pages of it, every vCPU its own */
	unsigned int vcpus;		/* arm64; 0 = 1 */
	bool others_off;		/* all vCPUs but the first start switched off */
	bool no_hlt_exits;		/* x86: HLT does not exit */
};

/* One vCPU, the first with the machine; the others borrow from it. */
struct vm {
	struct options o;
	unsigned int id;
	struct vm *other[MAX_VCPUS - 1];
	int result;			/* of run_vm, after run_all */
	int kvm, fd, vcpu_fd;
	struct kvm_run *run;
	struct apf_mem *mem;
	struct apf_kvm *k;
	struct apf_kvm_vcpu *v;
	struct event ev[MAX_EVENTS];
	unsigned int n;
	struct apf_kvm_stats stats;	/* after free_vm */
};

struct vm *make_vm(const struct options *o);
#define VM(...) make_vm(&(struct options){ __VA_ARGS__ })
void free_vm(struct vm *vm);	/* the first's struct itself is the caller's to free */

/*
 * Run until the guest says "end", or what is waited for, or the binding returns
 * something else than 0, which is the result. Collects the events.
 */
int run_until(struct vm *vm, unsigned int what);
int run_vm(struct vm *vm);
/* The others in threads of their own, then wait for all. */
void run_all(struct vm *vm);
/* Kick it after so long: -EINTR where the guest is not at its end before. */
int run_for(struct vm *vm, unsigned int ms);

unsigned int count(const struct vm *vm, unsigned int what);
/* The values read are those of the pages from `first`, each `times` times. */
void check_values(const struct vm *vm, unsigned int times);
/* Every ready that is no wake-all has the token of the NP before it. */
void check_tokens(const struct vm *vm);
/* (Un)register the half of RAM; flags: KVM_MEM_READONLY. */
void set_half(struct vm *vm, unsigned int half, bool there, uint32_t flags);
uint32_t mp_state(const struct vm *vm);

int make_ram_file(void **state);
int remove_ram_file(void **state);

/* Of the processor: */
extern const uint64_t machine_ram;		/* guest-physical address */
extern const uint32_t machine_halted;		/* mp_state of a halt of the library's */
void machine_image(uint8_t *image);
void machine_create(struct vm *vm);		/* after KVM_CREATE_VM */
void machine_vcpu(struct vm *vcpu);		/* after KVM_CREATE_VCPU */
void machine_start(struct vm *vm);		/* after the last of them */
unsigned int machine_events(const struct vm *vm, struct event *e);	/* of the last exit; at most 8 */
bool machine_usable(const struct apf_kvm_probe *p);

#endif
