/* SPDX-License-Identifier: MIT */
/* A vCPU under test and the guest memory and interrupt controller it sees. */
#ifndef TESTS_ENGINE_FAKE_H
#define TESTS_ENGINE_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <abi/apf_abi_arm64.h>
#include <abi/apf_abi_x86.h>
#include <apf/engine.h>
#include <tests/support/guest_memory.h>

#define RAM_BYTES	(1ull << 30)
#define AREA		0x12340ull
#define VECTOR		0xf3u
#define EN_ON		(AREA | APF_EN_ENABLED | APF_EN_INT)
#define PPI		22u

/* First arguments of arm64's call. */
#define OP(name)	((uint64_t)APF_ARM64_OP_##name << APF_ARM64_OP_SHIFT)
#define A_ON		(OP(ENABLE) | AREA | APF_ARM64_ENABLED)
#define A_ON_INT	(A_ON | APF_ARM64_INT)

struct fake {
	struct apf_vcpu *v;
	GUEST_AREA;
	struct guest_memory memory;	/* 1 GiB of RAM, of which only the area exists */
	bool fixed_reason;		/* its reason word cannot be written */
	int raise_result;
	unsigned int raises;		/* that were accepted */
	uint8_t vector;			/* of the last one tried */
	bool line;			/* arm64: the PPI's level */
	int inject_result;
	uint32_t cr2;			/* of the last exception injected */
	unsigned int injects;		/* that were accepted */
	/*
	 * What the engine did. N, Y, n: reason word NP, ready, none; T, 0: token word set,
	 * cleared; R: interrupt raised; L: its line lowered; P: exception injected.
	 */
	char log[64];
	_Alignas(64) char mem[1 << 16];
};

#define CONFIG(...) (struct apf_vcpu_config) { .abi = APF_ABI_X86_INT, .vcpu_id = 5, \
	.max_outstanding = 8, .has_lapic = true, __VA_ARGS__ }
#define L_CONFIG(...) CONFIG(.abi = APF_ABI_X86_2010, __VA_ARGS__)
#define RFC_CONFIG(...) CONFIG(.abi = APF_ABI_X86_RFC, __VA_ARGS__)
#define A_CONFIG(...) CONFIG(.abi = APF_ABI_ARM64, .ready_irq = PPI, __VA_ARGS__)

/* A vCPU as after power-on. */
void fake_init(struct fake *g, struct apf_vcpu_config cfg);
/* The same, enabled by its guest, with the wake-all of that consumed. RFC: by interrupt. */
void fake_on(struct fake *g, struct apf_vcpu_config cfg);
/* The same for arm64, enabled by this argument of its call. */
void fake_arm_on(struct fake *g, struct apf_vcpu_config cfg, uint64_t what);
/* The log so far is of no interest. */
void fake_forget(struct fake *g);

unsigned int write_reg(struct fake *g, uint32_t reg, uint64_t value);	/* must succeed */
void consume(struct fake *g);		/* the guest's handler: token word to 0, no ACK */
unsigned int ack(struct fake *g);	/* consume, then ACK */
/* arm64's call with these arguments. Its result; *out as apf_vcpu_call's, may be NULL. */
int64_t call(struct fake *g, const uint64_t x[6], unsigned int *out);
/* The same of whole arguments, which must succeed. Returns APF_OUT_ bits. */
unsigned int ask(struct fake *g, uint64_t what, uint64_t start, uint64_t size);
/* arm64's ACK, after consume. */
unsigned int arm_ack(struct fake *g);
/* The vCPU enters the guest where nothing forbids an exception. */
unsigned int enter(struct fake *g);
/* The guest's handler of 2010 and RFC: reason word to 0. Returns the token it was told. */
uint32_t handle(struct fake *g);

/* A fault of user code that nothing forbids to be asynchronous. */
struct apf_fault user_fault(uint64_t gfn);
struct apf_decision take(struct fake *g, struct apf_fault f);
/* The same, which must be injected; returns the token. */
uint32_t inject(struct fake *g, uint64_t gfn);

struct apf_vcpu_stats stats(const struct fake *g);

#endif
