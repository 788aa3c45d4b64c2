/* SPDX-License-Identifier: MIT */
/* The fake guest: its area, its interrupt controller, and a log of what they saw. */
#include <errno.h>
#include <string.h>

#include "fake.h"
#include "invariants.h"

static void note(struct fake *g, char c)
{
	size_t n = strlen(g->log);

	if (n + 1 < sizeof(g->log))
		g->log[n] = c;
}

static int fake_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	struct fake *g = ctx;

	assert_true(g->memory.unreachable || guest_memory_at(&g->memory, gpa, 4));
	return guest_memory_read(&g->memory, gpa, value, 4);
}

static int fake_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	struct fake *g = ctx;

	if (g->fixed_reason && gpa == AREA + APF_AREA_REASON)
		return -EFAULT;
	if (guest_memory_write(&g->memory, gpa, &value, 4))
		return -EFAULT;
	assert_int_not_equal(gpa, AREA + APF_ARM64_AREA_BUSY);
	if (gpa == AREA + APF_AREA_TOKEN)
		note(g, value ? 'T' : '0');
	else
		note(g, value == APF_REASON_NP ? 'N' : value == APF_REASON_READY ? 'Y' : 'n');
	return 0;
}

static bool fake_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	struct fake *g = ctx;

	return guest_memory_is_ram(&g->memory, gpa, len);
}

static int fake_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct fake *g = ctx;

	assert_int_equal(vcpu_id, 5);
	g->vector = vector;
	g->raises += g->raise_result > 0;
	g->line = g->raise_result > 0;
	note(g, 'R');
	return g->raise_result;
}

static void fake_lower(void *ctx, uint32_t vcpu_id, uint8_t irq)
{
	struct fake *g = ctx;

	assert_int_equal(vcpu_id, 5);
	assert_int_equal(irq, PPI);
	g->line = false;
	note(g, 'L');
}

static int fake_inject(void *ctx, uint32_t token)
{
	struct fake *g = ctx;

	note(g, 'P');
	if (g->inject_result)
		return g->inject_result;
	g->cr2 = token;
	g->injects++;
	return 0;
}

static const struct apf_engine_ops ops = {
	.read32 = fake_read32,
	.write32 = fake_write32,
	.is_ram = fake_is_ram,
	.raise = fake_raise,
	.inject = fake_inject,
	.lower = fake_lower,
};

void fake_init(struct fake *g, struct apf_vcpu_config cfg)
{
	memset(g, 0, sizeof(*g));
	g->raise_result = 1;
	g->memory = (struct guest_memory){ .bytes = g->area, .gpa = AREA, .ram = RAM_BYTES,
					   .size = GUEST_AREA_SIZE(cfg.abi == APF_ABI_ARM64) };
	assert_int_equal(apf_vcpu_init(g->mem, sizeof(g->mem), &cfg, &ops, g, &g->v), 0);
}

void fake_forget(struct fake *g)
{
	g->raises = g->injects = 0;
	memset(g->log, 0, sizeof(g->log));
}

void fake_on(struct fake *g, struct apf_vcpu_config cfg)
{
	fake_init(g, cfg);
	if (cfg.abi == APF_ABI_X86_2010) {
		assert_int_equal(write_reg(g, APF_MSR_EN, AREA | APF_EN_ENABLED), APF_OUT_KICK);
		assert_int_equal(enter(g), 0);
		assert_int_equal(handle(g), APF_TOKEN_BROADCAST);
	} else {
		write_reg(g, APF_MSR_INT,
			  cfg.abi == APF_ABI_X86_RFC ? VECTOR | APF_PF2_ENABLED : VECTOR);
		write_reg(g, APF_MSR_EN, EN_ON);
		assert_int_equal(g->token, APF_TOKEN_BROADCAST);
		if (cfg.abi == APF_ABI_X86_RFC)
			handle(g);
		else
			ack(g);
	}
	fake_forget(g);
}

void fake_arm_on(struct fake *g, struct apf_vcpu_config cfg, uint64_t what)
{
	fake_init(g, cfg);
	if (what & APF_ARM64_INT) {
		assert_int_equal(ask(g, what, 0, 0), 0);
		assert_int_equal(g->token, APF_TOKEN_BROADCAST);
		assert_int_equal(arm_ack(g), 0);
	} else {
		assert_int_equal(ask(g, what, 0, 0), APF_OUT_KICK);
		assert_int_equal(enter(g), 0);
		assert_int_equal(handle(g), APF_TOKEN_BROADCAST);
	}
	fake_forget(g);
}

int64_t call(struct fake *g, const uint64_t x[6], unsigned int *out)
{
	uint64_t r[4] = { 7, 7, 7, 7 };

	assert_int_equal(apf_vcpu_call(g->v, x, r, out), 0);
	assert_null(broken_invariant(g->v));
	if (x[0] | (x[1] ^ OP(INFO) >> 32))
		assert_int_equal(r[1] | r[2] | r[3], 0);
	return (int64_t)r[0];
}

unsigned int ask(struct fake *g, uint64_t what, uint64_t start, uint64_t size)
{
	const uint64_t x[6] = { (uint32_t)what, what >> 32, (uint32_t)start, start >> 32,
				(uint32_t)size, size >> 32 };
	unsigned int out = ~0u;

	assert_int_equal(call(g, x, &out), APF_ARM64_SUCCESS);
	return out;
}

unsigned int arm_ack(struct fake *g)
{
	consume(g);
	return ask(g, OP(ACK), 0, 0);
}

unsigned int write_reg(struct fake *g, uint32_t reg, uint64_t value)
{
	unsigned int out = ~0u;

	assert_int_equal(apf_vcpu_control_write(g->v, reg, value, &out), 0);
	assert_null(broken_invariant(g->v));
	return out;
}

void consume(struct fake *g)
{
	g->token = 0;
}

unsigned int ack(struct fake *g)
{
	consume(g);
	return write_reg(g, APF_MSR_ACK, APF_ACK_LOOK);
}

unsigned int enter(struct fake *g)
{
	const struct apf_fault at = user_fault(0);
	unsigned int out = apf_vcpu_enter(g->v, &at);

	assert_null(broken_invariant(g->v));
	return out;
}

uint32_t handle(struct fake *g)
{
	uint32_t token = g->token ? g->token : g->cr2;

	assert_int_equal(g->reason, APF_REASON_READY);
	g->reason = g->cr2 = g->token = 0;
	return token;
}

struct apf_fault user_fault(uint64_t gfn)
{
	return (struct apf_fault) { .gfn = gfn, .user = true, .irqs_on = true, .paging = true };
}

struct apf_decision take(struct fake *g, struct apf_fault f)
{
	struct apf_decision d;

	apf_vcpu_fault(g->v, &f, &d);
	assert_null(broken_invariant(g->v));
	return d;
}

uint32_t inject(struct fake *g, uint64_t gfn)
{
	struct apf_decision d = take(g, user_fault(gfn));

	assert_int_equal(d.verdict, APF_INJECT);
	assert_int_equal(d.why, APF_WHY_ASYNC);
	assert_int_equal(g->reason, APF_REASON_NP);
	g->reason = 0;
	return d.token;
}

struct apf_vcpu_stats stats(const struct fake *g)
{
	struct apf_vcpu_stats s;

	apf_vcpu_stats(g->v, &s);
	return s;
}
