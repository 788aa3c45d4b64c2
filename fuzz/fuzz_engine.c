/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest and a hostile file against the engine, in each generation: any
 * control write, any call with any registers, any fault, an area whose words change between two reads and cannot
 * always be reached, an APIC that takes or refuses, an injection that works or fails,
 * saved bytes that were tampered with.
 * Whatever comes, the state stays whole, only the area is touched, and no ready
 * goes out for an NP that was not delivered.
 *
 * The input is a sequence of steps: a byte that says what happens, then its values.
 */
#include <errno.h>
#include <string.h>

#include <abi/apf_abi_arm64.h>
#include <abi/apf_abi_x86.h>
#include <engine/vcpu.h>
#include <tests/engine/invariants.h>
#include <tests/support/guest_memory.h>

#define MAX_SET	16u
#define RAM	(1ull << 30)
#define AREA	0x4000ull
#define PPI	22

struct fuzz {
	const uint8_t *data;
	size_t left;
	struct apf_vcpu *v;
	uint32_t set_size;
	bool frozen;
	bool loose;		/* loaded: tokens that we have not seen may be in the set */
	uint32_t owed[MAX_SET];	/* NPs delivered and not answered; 0: none */
	GUEST_AREA;		/* as last written; what is read is the fuzzer's choice */
	bool line;		/* arm64: of the ready interrupt */
	bool entering;		/* the vCPU stands where it can be injected into */
	_Alignas(64) uint8_t block[4096];
};

/* A macro, so that the report names the line. */
#define check(ok) do { if (!(ok)) __builtin_trap(); } while (0)

static uint64_t take(struct fuzz *f, size_t bytes)
{
	uint64_t value = 0;

	if (bytes > f->left)
		bytes = f->left;
	memcpy(&value, f->data, bytes);
	f->data += bytes;
	f->left -= bytes;
	return value;
}

static bool is_arm(const struct fuzz *f)
{
	return f->v->abi == APF_ABI_ARM64;
}

/* Only the area exists, wherever the guest put it. */
static struct guest_memory memory_of(struct fuzz *f)
{
	return (struct guest_memory){ .bytes = f->area, .gpa = apf_vcpu_area(f->v), .ram = RAM,
				      .size = GUEST_AREA_SIZE(is_arm(f)) };
}

static void check_address(const struct guest_memory *m, uint64_t gpa)
{
	check(guest_memory_at(m, gpa, 4) && gpa % 4 == 0);
	check(m->gpa < RAM);
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	struct fuzz *f = ctx;
	const struct guest_memory m = memory_of(f);
	uint8_t how = (uint8_t)take(f, 1);

	check_address(&m, gpa);
	if (how == 1)
		return -EFAULT;
	*value = how == 2 ? APF_TOKEN_BROADCAST : how == 3 ? (uint32_t)take(f, 4) : 0;
	return 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	struct fuzz *f = ctx;

	struct guest_memory m = memory_of(f);

	check_address(&m, gpa);
	check(gpa != m.gpa + APF_ARM64_AREA_BUSY);
	m.unreachable = take(f, 1) == 1;
	return guest_memory_write(&m, gpa, &value, 4);
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	const struct guest_memory m = { .ram = RAM };

	return guest_memory_is_ram(&m, gpa, len);
}

/* C2: the one answer to an NP; a wake-all answers all. */
static void answer(struct fuzz *f, uint32_t token)
{
	if (token == APF_TOKEN_BROADCAST) {
		memset(f->owed, 0, sizeof(f->owed));
		f->loose = false;
		return;
	}
	for (uint32_t i = 0; i < MAX_SET; i++)
		if (f->owed[i] == token) {
			f->owed[i] = 0;
			return;
		}
	check(f->loose);
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct fuzz *f = ctx;
	int accepted = (int)take(f, 1) % 3 != 1;

	check(vcpu_id == f->v->id && !f->frozen && f->token);
	check(f->v->abi != APF_ABI_X86_2010);
	check(f->v->abi != APF_ABI_X86_RFC || f->reason == APF_REASON_READY);
	if (is_arm(f)) {
		check(vector == PPI && f->v->ctl[0] & APF_ARM64_INT && !f->line);
		f->line = accepted;
	}
	if (accepted || vector < 16)
		answer(f, f->token);
	return accepted;
}

static void op_lower(void *ctx, uint32_t vcpu_id, uint8_t irq)
{
	struct fuzz *f = ctx;

	check(vcpu_id == f->v->id && irq == PPI);
	f->line = false;
}

static int op_inject(void *ctx, uint32_t token)
{
	struct fuzz *f = ctx;

	check(f->entering && !f->frozen && f->reason == APF_REASON_READY);
	check(f->v->abi != APF_ABI_X86_INT);
	check(!is_arm(f) || !(f->v->ctl[0] & APF_ARM64_INT));
	if (take(f, 1) == 1)
		return -EAGAIN;
	answer(f, token);
	return 0;
}

static const struct apf_engine_ops ops = {
	.read32 = op_read32,
	.write32 = op_write32,
	.is_ram = op_is_ram,
	.raise = op_raise,
	.inject = op_inject,
	.lower = op_lower,
};

static void make(struct fuzz *f, uint8_t how, uint8_t abi)
{
	static const uint32_t ids[] = { 0, 1, 4095, 5 }, arm_ids[] = { 0, 1, 65535, 5 };
	static const enum apf_abi_id abis[] = { APF_ABI_X86_INT, APF_ABI_X86_2010,
						APF_ABI_X86_RFC, APF_ABI_ARM64 };
	struct apf_vcpu_config cfg = {
		.abi = abis[abi % 4],
		.vcpu_id = abi % 4 == 3 ? arm_ids[how & 3] : ids[how & 3],
		.max_outstanding = (how >> 2 & 7) + 1,
		.has_lapic = (how & 0xc0) != 0xc0,
		.ready_irq = (how & 0xc0) != 0xc0 ? PPI : 0,
		.policy.tokens_per_page = how >> 5 & 3,
		.policy.never_async = how == 0xff,
	};

	f->set_size = cfg.max_outstanding;
	check(apf_vcpu_init(f->block, sizeof(f->block), &cfg, &ops, f, &f->v) == 0);
}

static void forget(struct fuzz *f)
{
	memset(f->owed, 0, sizeof(f->owed));
	f->loose = false;
}

static void step_control(struct fuzz *f)
{
	static const uint32_t regs[] = { APF_MSR_EN, APF_MSR_INT, APF_MSR_ACK, 0x4b564d05 };
	uint8_t how = (uint8_t)take(f, 1);
	uint32_t reg = regs[how & 3];
	uint64_t value = how & 4 ? take(f, 8) : take(f, 1) ^ (how & 8 ? AREA | 9 : 0), back;
	unsigned int out;
	int ret;

	value ^= how & 16 ? APF_PF2_ENABLED : 0;
	ret = apf_vcpu_control_write(f->v, reg, value, &out);
	check(ret == 0 || (ret == -EINVAL && !out));
	if (!ret && reg != APF_MSR_ACK)
		check(apf_vcpu_control_read(f->v, reg, &back) == 0 && back == value);
	if (!apf_vcpu_enabled(f->v))
		forget(f);
}

/* What, start and size; from a few that make sense, or just any registers. */
static void take_call(struct fuzz *f, uint64_t x[6])
{
	static const uint8_t numbers[] = { APF_ARM64_OP_INFO, APF_ARM64_OP_ACK,
					   APF_ARM64_OP_REGION, APF_ARM64_OP_ENABLE };
	uint8_t how = (uint8_t)take(f, 1);
	uint64_t what = (uint64_t)numbers[how & 3] << APF_ARM64_OP_SHIFT;

	memset(x, 0, 6 * sizeof(*x));
	if (how & 128) {
		for (int i = 0; i < 6; i++)
			x[i] = take(f, 8);
		return;
	}
	what |= (how & 4 ? AREA : 0) | (how & 8 ? take(f, 1) : how >> 4 & 7);
	x[0] = (uint32_t)what;
	x[1] = what >> 32;
	if ((how & 3) == 2) {
		x[2] = take(f, 1);
		x[4] = take(f, 1);
	}
}

static void step_call(struct fuzz *f)
{
	uint64_t x[6], r[4] = { 0 };
	uint8_t before[4096];
	unsigned int out;
	int ret;

	take_call(f, x);
	memcpy(before, f->block, sizeof(before));
	ret = apf_vcpu_call(f->v, x, r, &out);
	check(ret == (is_arm(f) ? 0 : -EINVAL));
	if (ret || r[0]) {
		check(!out && !memcmp(before, f->block, sizeof(before)));
		check(!r[1] && !r[2] && !r[3]);
		check(!r[0] || (int64_t)r[0] >= APF_ARM64_INVALID_PARAMETER);
		return;
	}
	for (int i = 0; i < 6; i++)
		check(x[i] <= UINT32_MAX);
	if (x[1] >> 24 == APF_ARM64_OP_ENABLE)
		forget(f);
}

/* Faults and pages come from the host, which knows its RAM. */
static uint64_t take_gfn(struct fuzz *f)
{
	uint8_t gfn = (uint8_t)take(f, 1);

	return gfn == 0xff ? take(f, 8) % (RAM >> 12) : gfn & 7u;
}

/* The bits of vcpu_state that arm64 does not know are 0 there. */
static uint8_t take_bits(struct fuzz *f)
{
	uint8_t bits = (uint8_t)take(f, 1);

	return is_arm(f) ? bits & 0x8b : bits;
}

static struct apf_fault vcpu_state(struct fuzz *f, uint8_t bits, uint64_t gfn)
{
	return (struct apf_fault) {
		.pc = is_arm(f) ? take(f, 1) : 0,
		.gfn = gfn, .user = !(bits & 1), .irqs_on = !(bits & 2),
		.irq_shadow = bits & 4, .event = bits & 8, .paging = !(bits & 16),
		.smm = bits & 32, .nested = bits & 64,
	};
}

static void step_enter(struct fuzz *f)
{
	uint8_t bits = take_bits(f);
	struct apf_fault at = vcpu_state(f, bits, 0);

	f->entering = !(bits & 0x7e);
	check(!(apf_vcpu_enter(f->v, &at) & (APF_OUT_KICK | APF_OUT_WAKE)));
	f->entering = false;
}

static void step_fault(struct fuzz *f)
{
	uint8_t bits = take_bits(f);
	uint64_t gfn = take_gfn(f);
	struct apf_fault fault = vcpu_state(f, bits, gfn);
	struct apf_decision d;

	apf_vcpu_fault(f->v, &fault, &d);
	check((d.verdict == APF_INJECT) == (d.why == APF_WHY_ASYNC) && d.why < APF_WHY_COUNT);
	if (d.verdict != APF_INJECT)
		return;
	check(fault.irqs_on && fault.paging && !(bits & 0x6c) && apf_vcpu_owns(f->v, d.token));
	check(fault.user || f->v->ctl[0] & APF_EN_SEND_ALWAYS);
	if (bits & 128) {
		check(apf_vcpu_undo(f->v, d.token) == 0);
		return;
	}
	for (uint32_t i = 0; i < MAX_SET; i++)
		if (!f->owed[i]) {
			f->owed[i] = d.token;
			return;
		}
	check(false);
}

/* The line is the interrupt controller's, which the same file has put right. */
static void restore_line(struct fuzz *f)
{
	f->line = is_arm(f) && f->v->ctl[APF_CTL_WORDS - 1];
}

/* Tampered or not; what is not loads, and saves to the same bytes again. */
static void step_save_load(struct fuzz *f)
{
	uint8_t bytes[512], again[512], changes = (uint8_t)take(f, 1) % 4;
	size_t size = apf_vcpu_save(f->v, bytes, sizeof(bytes));
	int ret;

	check(size <= sizeof(bytes));
	for (uint8_t i = 0; i < changes; i++) {
		size_t at = (size_t)take(f, 2) % size;

		bytes[at] ^= (uint8_t)take(f, 1);
	}
	ret = apf_vcpu_load(f->v, bytes, size);
	check(ret == 0 || ret == -EINVAL || ret == -ENOSPC);
	check(ret == 0 || changes);
	if (ret == 0)
		check(apf_vcpu_save(f->v, again, sizeof(again)) == size &&
		      !memcmp(bytes, again, size));
	if (ret == -EINVAL)
		check(!apf_vcpu_enabled(f->v));
	if (ret || changes)
		forget(f);
	if (changes)
		f->loose = true;
	restore_line(f);
}

static void step_load(struct fuzz *f)
{
	size_t size = (size_t)take(f, 2);

	if (size > f->left)
		size = f->left;
	apf_vcpu_load(f->v, f->data, size);
	f->data += size;
	f->left -= size;
	forget(f);
	f->loose = true;
	restore_line(f);
}

static void step(struct fuzz *f)
{
	switch (take(f, 1) % 13) {
	case 0:
		step_control(f);
		break;
	case 1:
	case 2:
		step_fault(f);
		break;
	case 3:
		apf_vcpu_page_done(f->v, take_gfn(f));
		break;
	case 4:
		apf_vcpu_poll(f->v);
		break;
	case 5:
		f->frozen = !f->frozen;
		apf_vcpu_freeze(f->v, f->frozen);
		break;
	case 6:
		apf_vcpu_broadcast(f->v);
		break;
	case 7:
		apf_vcpu_reset(f->v);
		forget(f);
		break;
	case 8:
		step_save_load(f);
		break;
	case 9:
		step_load(f);
		break;
	case 10:
		step_enter(f);
		break;
	case 11:
		apf_vcpu_page_failed(f->v, take_gfn(f));
		break;
	case 12:
		step_call(f);
		break;
	}
}

static void check_all(struct fuzz *f)
{
	struct apf_vcpu_stats s;

	check(!broken_invariant(f->v));
	apf_vcpu_stats(f->v, &s);
	check(s.outstanding <= f->set_size && s.outstanding + s.queued <= f->set_size + 1);
	check(s.faults == s.np + s.halts + s.waits);
	if (f->loose)
		return;
	for (uint32_t i = 0; i < MAX_SET; i++)
		check(!f->owed[i] || apf_set_find(&f->v->set, f->owed[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;
	uint8_t how;

	memset(&f, 0, sizeof(f));
	f.data = data;
	f.left = size;
	how = (uint8_t)take(&f, 1);
	make(&f, how, (uint8_t)take(&f, 1));
	while (f.left) {
		step(&f);
		check_all(&f);
	}
	return 0;
}
