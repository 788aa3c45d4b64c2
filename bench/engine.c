/* SPDX-License-Identifier: MIT */
/*
 * What the protocol itself costs: one fault, its page and the guest's acknowledge
 * through the engine, with 1, 64 and 4096 faults outstanding meanwhile. No system
 * call, no guest: the area is a variable, the APIC takes every interrupt.
 *
 * Two peers in the same run, for scale: the least that anybody would have to do for
 * one fault (lock, enter the page into a hash, copy a word to the guest, find the
 * page again, take it out, copy another word, unlock), and one getppid().
 *
 * Nanoseconds per fault: median and least of the runs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <abi/apf_abi_x86.h>
#include <apf/engine.h>

#define RUNS	15
#define ROUNDS	200000u
#define MOST	4096u
#define AREA	0x1000ull

static uint32_t area[2];
static _Alignas(64) char mem[1 << 20];
static struct apf_vcpu *vcpu;
static uint64_t delivered;

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	memcpy(value, (char *)area + (gpa - AREA), sizeof(*value));
	return 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	memcpy((char *)area + (gpa - AREA), &value, sizeof(value));
	return 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	return true;
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	delivered++;
	return 1;
}

static const struct apf_engine_ops ops = {
	.read32 = op_read32, .write32 = op_write32, .is_ram = op_is_ram, .raise = op_raise,
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "engine: %s\n", what);
	exit(1);
}

static void setup(void)
{
	struct apf_vcpu_config cfg = { .abi = APF_ABI_X86_INT, .max_outstanding = MOST + 1,
				       .has_lapic = true };

	memset(area, 0, sizeof(area));
	if (apf_vcpu_init(mem, sizeof(mem), &cfg, &ops, NULL, &vcpu))
		fail("no vCPU");
	apf_vcpu_control_write(vcpu, APF_MSR_INT, 0xf3, NULL);
	apf_vcpu_control_write(vcpu, APF_MSR_EN, AREA | APF_EN_ENABLED | APF_EN_INT, NULL);
	area[1] = 0;
}

static void fault(uint64_t gfn)
{
	struct apf_fault f = { .gfn = gfn, .user = true, .irqs_on = true, .paging = true };
	struct apf_decision d;

	apf_vcpu_fault(vcpu, &f, &d);
	if (d.verdict != APF_INJECT)
		fail("a fault was not injected");
	area[0] = 0;
}

static void ready(uint64_t gfn)
{
	apf_vcpu_page_done(vcpu, gfn);
	area[1] = 0;
	apf_vcpu_control_write(vcpu, APF_MSR_ACK, APF_ACK_LOOK, NULL);
}

/* Pages in an order that no prefetcher guesses. */
static uint64_t page(uint64_t n)
{
	return n * 0x9e3779b1u & 0xffffff;
}

static double engine_run(uint32_t outstanding)
{
	uint64_t start, before;

	setup();
	before = delivered;
	for (uint64_t i = 0; i + 1 < outstanding; i++)
		fault(page(i));
	start = now_ns();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		fault(page(i + outstanding - 1));
		ready(page(i));
	}
	start = now_ns() - start;
	if (delivered - before != ROUNDS)
		fail("a ready was lost");
	return (double)start / ROUNDS;
}

/* The peer: a hash of pages behind a lock. */
static struct entry {
	uint64_t gfn;
	uint32_t token, next;
} entries[MOST + 1];
static uint32_t heads[MOST], free_entry;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t *head(uint64_t gfn)
{
	return &heads[(gfn * 0x9e3779b97f4a7c15ull >> 32) % MOST];
}

static void peer_fault(uint64_t gfn, uint32_t token)
{
	uint32_t i, *h = head(gfn);

	pthread_mutex_lock(&lock);
	i = free_entry;
	free_entry = entries[i].next;
	entries[i] = (struct entry) { gfn, token, *h };
	*h = i;
	op_write32(NULL, AREA, 1);
	pthread_mutex_unlock(&lock);
}

static void peer_ready(uint64_t gfn)
{
	uint32_t i, *link = head(gfn);

	pthread_mutex_lock(&lock);
	while (entries[*link].gfn != gfn)
		link = &entries[*link].next;
	i = *link;
	*link = entries[i].next;
	op_write32(NULL, AREA + 4, entries[i].token);
	entries[i].next = free_entry;
	free_entry = i;
	pthread_mutex_unlock(&lock);
}

static double peer_run(uint32_t outstanding)
{
	uint64_t start;

	memset(heads, 0, sizeof(heads));
	for (uint32_t i = 0; i <= MOST; i++)
		entries[i] = (struct entry) { ~0ull, 0, i + 1 };
	free_entry = 1;
	for (uint64_t i = 0; i + 1 < outstanding; i++)
		peer_fault(page(i), (uint32_t)i);
	start = now_ns();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		peer_fault(page(i + outstanding - 1), (uint32_t)i);
		peer_ready(page(i));
	}
	return (double)(now_ns() - start) / ROUNDS;
}

static double getppid_run(uint32_t unused)
{
	uint64_t start = now_ns();

	for (uint32_t i = 0; i < ROUNDS; i++)
		syscall(SYS_getppid);
	return (double)(now_ns() - start) / ROUNDS;
}

static int by_value(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

static double measure(const char *what, double (*run)(uint32_t), uint32_t outstanding)
{
	double ns[RUNS];

	for (int i = 0; i < RUNS; i++)
		ns[i] = run(outstanding);
	qsort(ns, RUNS, sizeof(ns[0]), by_value);
	printf("%-34s %5u outstanding: median %6.1f ns, least %6.1f ns\n", what, outstanding,
	       ns[RUNS / 2], ns[0]);
	return ns[RUNS / 2];
}

int main(void)
{
	static const uint32_t outstanding[] = { 1, 64, MOST };
	double call = measure("peer: one getppid()", getppid_run, 0);

	for (size_t i = 0; i < sizeof(outstanding) / sizeof(outstanding[0]); i++) {
		double own = measure("engine: fault + ready + ack", engine_run, outstanding[i]);
		double peer = measure("peer: lock, hash in, hash out", peer_run, outstanding[i]);

		printf("%-34s %5u outstanding: %.2f of the hash peer, %.2f of getppid()\n",
		       "ratio", outstanding[i], own / peer, own / call);
	}
	return 0;
}
