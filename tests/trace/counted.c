/* SPDX-License-Identifier: MIT */
/*
 * A life of a vCPU and of some pages, in which all that has a counter happens. Prints what the
 * library counted, "NAME VALUE" a line: bpftrace.sh compares.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <abi/apf_abi_x86.h>
#include <apf/engine.h>
#include <tests/memory/fake.h>

#define ENTRIES	7u
#define PAGES	64u

static _Alignas(64) char mem[1 << 14];
static uint32_t words[2];	/* reason, token */
static struct apf_vcpu *v;

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	*value = words[gpa / 4 % 2];
	return 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	words[gpa / 4 % 2] = value;
	return 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	return true;
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	return 1;
}

static const struct apf_engine_ops ops = {
	.read32 = op_read32, .write32 = op_write32, .is_ram = op_is_ram, .raise = op_raise,
};

static void fault(uint64_t gfn, bool irqs_on)
{
	const struct apf_fault f = { .gfn = gfn, .user = true, .irqs_on = irqs_on, .paging = true };
	struct apf_decision d;

	apf_vcpu_fault(v, &f, &d);
	words[0] = 0;
}

static void write_msr(uint32_t msr, uint64_t value)
{
	if (apf_vcpu_control_write(v, msr, value, NULL))
		exit(2);
}

static void consume(void)
{
	words[1] = 0;
	write_msr(APF_MSR_ACK, APF_ACK_LOOK);
}

/* faults 18, np 7, repeats 3, full 2, waits 6, halts 5, ready 4, wake-alls 1. */
static void vcpu_life(void)
{
	const struct apf_vcpu_config cfg = { .abi = APF_ABI_X86_INT, .vcpu_id = 3,
					     .max_outstanding = ENTRIES, .has_lapic = true };
	struct apf_vcpu_stats s;

	if (apf_vcpu_init(mem, sizeof(mem), &cfg, &ops, NULL, &v))
		exit(2);
	write_msr(APF_MSR_INT, 0xf3);
	write_msr(APF_MSR_EN, 0x1000 | APF_EN_ENABLED | APF_EN_INT);
	consume();
	for (uint64_t gfn = 0; gfn < ENTRIES + 2; gfn++)
		fault(gfn, true);
	for (int i = 0; i < 3; i++)
		fault(0, true);
	for (int i = 0; i < 6; i++)
		fault(100, false);
	apf_vcpu_page_done(v, 100);
	for (uint64_t gfn = 0; gfn < 4; gfn++) {
		apf_vcpu_page_done(v, gfn);
		consume();
	}
	apf_vcpu_reset(v);
	apf_vcpu_stats(v, &s);
	printf("faults %llu\nnp %llu\nready %llu\nbroadcasts %llu\nhalts %llu\nwaits %llu\n"
	       "repeats %llu\nfull %llu\n", (unsigned long long)s.faults, (unsigned long long)s.np,
	       (unsigned long long)s.ready, (unsigned long long)s.broadcasts,
	       (unsigned long long)s.halts, (unsigned long long)s.waits,
	       (unsigned long long)s.repeats, (unsigned long long)s.full);
}

static int lost_from_60(uint64_t page, unsigned int attempt)
{
	return page < 60 ? 0 : -EIO;
}

static void pages_life(void)
{
	struct apf_mem_config cfg = { .size = PAGES * page_size, .trap = APF_TRAP_BLOCK, .retries = 1,
				      .retry_ns = 1 };
	struct results r;
	struct apf_mem_stats s;
	struct apf_mem *m;

	fake.result = lost_from_60;
	m = ram_with(cfg, NULL, &r);
	for (uint64_t n = 0; n < 20; n += 2)
		want(m, n);
	for (uint64_t n = 40; n < 56; n++)
		want(m, n);
	want(m, 61);
	want(m, 63);
	results_wait(&r, 28);
	s = stats(m);
	printf("completed %llu\nreads %llu\nlost %llu\n", (unsigned long long)s.fetched,
	       (unsigned long long)s.reads, (unsigned long long)s.failed);
	apf_mem_destroy(m);
}

int main(void)
{
	if (kernel_lacks_something())
		return 77;
	vcpu_life();
	fake_reset(NULL);
	pages_life();
	return 0;
}
