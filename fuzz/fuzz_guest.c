/* SPDX-License-Identifier: MIT */
/*
 * A hostile host against libapf-guest: any words in the area at any time, any
 * #PF, interrupts nobody asked for, refused control writes. The host may stop the
 * guest; it must not corrupt its lists, wake anyone twice or who does not wait, or
 * leave anyone asleep once the CPU is offline.
 *
 * The input is a sequence of steps of up to 10 bytes: what happens, and its values.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apf/guest.h>

enum { CPUS = 2, WAITERS = 48, NOTICES = 4, PATIENCE = 3, MEMORY = 8192 };

struct fuzz {
	const uint8_t *data;
	size_t left;
	struct apf_guest guest;
	uint32_t cpu, halts;
	uint64_t refused;		/* one bit per control write to come */
	bool no_sleep;
	struct apf_guest_waiter *sleeping[WAITERS];
	struct apf_guest_notice notice[NOTICES];
	bool has_notice[NOTICES];
	size_t used;
	_Alignas(64) unsigned char memory[MEMORY];
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint32_t take(struct fuzz *f, size_t bytes)
{
	uint32_t value = 0;

	for (size_t i = 0; i < bytes && f->left; i++, f->left--)
		value |= (uint32_t)*f->data++ << 8 * i;
	return value;
}

/* --- the guest's table --- */

static uint32_t op_cpu(void *ctx)
{
	return ((struct fuzz *)ctx)->cpu;
}

static void *op_alloc(void *ctx, size_t size, uint64_t *phys)
{
	struct fuzz *f = ctx;
	void *memory = f->memory + f->used;

	check(size <= sizeof(f->memory) - f->used);
	*phys = f->used;
	f->used += (size + 63) & ~(size_t)63;
	return memory;
}

static bool op_can_sleep(void *ctx)
{
	return !((struct fuzz *)ctx)->no_sleep;
}

/* Only apf_guest_x86_page_fault comes here, and the harness calls it with no_sleep. */
static void op_sleep(void *ctx, struct apf_guest_waiter *w)
{
	(void)ctx;
	(void)w;
	abort();
}

static void op_wake(void *ctx, struct apf_guest_waiter *w)
{
	struct fuzz *f = ctx;
	int i = 0;

	while (i < WAITERS && f->sleeping[i] != w)
		i++;
	check(i < WAITERS && !w->halts && w->cpu == f->cpu);
	f->sleeping[i] = NULL;
	free(w);
}

static int op_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	struct fuzz *f = ctx;
	bool refused = f->refused & 1;

	(void)value;
	check(msr == APF_MSR_EN || msr == APF_MSR_INT || msr == APF_MSR_ACK);
	f->refused >>= 1;
	return refused;
}

static void op_cpuid(void *ctx, uint32_t leaf, uint32_t r[4])
{
	(void)leaf;
	for (int i = 0; i < 4; i++)
		r[i] = take(ctx, 4);
}

static void op_eoi(void *ctx)
{
	(void)ctx;
}

static void write_area(struct fuzz *f)
{
	struct apf_area_x86 *area = &f->guest.cpu[f->cpu]->area;

	area->reason = take(f, 1);
	area->token = take(f, 4);
}

/* While a CPU halts the host does what it likes; in the end the CPU is taken offline. */
static void op_halt(void *ctx)
{
	struct fuzz *f = ctx;

	write_area(f);
	apf_guest_x86_ready(&f->guest);
	if (++f->halts > PATIENCE)
		apf_guest_x86_disable(&f->guest);
}

static const struct apf_guest_ops ops = {
	.cpu = op_cpu, .alloc = op_alloc, .can_sleep = op_can_sleep, .sleep = op_sleep,
	.wake = op_wake, .halt = op_halt, .wrmsr = op_wrmsr, .cpuid = op_cpuid, .eoi = op_eoi,
};

/* --- steps --- */

static struct apf_guest_x86_trap take_trap(struct fuzz *f)
{
	uint32_t flags = take(f, 1);

	return (struct apf_guest_x86_trap){
		.user = flags & 1, .irqs_on = flags & 2, .error_code = flags >> 2 & 7,
		.cr2 = take(f, 4) | (flags & 0x80 ? (uint64_t)flags << 40 : 0),
	};
}

static void step_notice(struct fuzz *f)
{
	struct apf_guest_x86_trap trap = take_trap(f);
	uint32_t slot = take(f, 1) % NOTICES;
	enum apf_guest_pf found = apf_guest_x86_notice(&f->guest, &trap, &f->notice[slot]);

	f->has_notice[slot] = found == APF_GUEST_PF_WAIT;
	if (!f->has_notice[slot])
		return;
	check(trap.cr2 == f->notice[slot].token && trap.error_code == 0 && trap.irqs_on);
	check(f->notice[slot].token && f->notice[slot].token != APF_TOKEN_BROADCAST);
}

static void step_wait(struct fuzz *f)
{
	uint32_t slot = take(f, 1) % NOTICES;
	struct apf_guest_waiter *w;
	int i = 0;

	while (i < WAITERS && f->sleeping[i])
		i++;
	if (i == WAITERS || !f->has_notice[slot])
		return;
	f->has_notice[slot] = false;
	w = malloc(sizeof(*w));
	check(w != NULL);
	f->no_sleep = false;
	if (apf_guest_wait(&f->guest, &f->notice[slot], w) == APF_GUEST_PF_WAIT)
		f->sleeping[i] = w;
	else
		free(w);
}

static void step_page_fault(struct fuzz *f)
{
	struct apf_guest_x86_trap trap = take_trap(f);
	struct apf_guest_waiter w;

	f->no_sleep = true;
	f->halts = 0;
	check(apf_guest_x86_page_fault(&f->guest, &trap, &w) != APF_GUEST_PF_WAIT);
}

/* The generation changes only while APF is off everywhere. */
static void step_boot(struct fuzz *f)
{
	uint32_t cpu = f->cpu;

	for (f->cpu = 0; f->cpu < CPUS; f->cpu++)
		apf_guest_x86_disable(&f->guest);
	for (int i = 0; i < WAITERS; i++)
		check(!f->sleeping[i]);
	f->cpu = cpu;
	f->guest.abi = take(f, 1) % (APF_GUEST_X86_INT + 1);
	f->guest.send_always = take(f, 1) & 1;
	apf_guest_x86_enable(&f->guest);
}

static void check_lists(const struct fuzz *f)
{
	int queued = 0, sleeping = 0;

	for (int cpu = 0; cpu < CPUS; cpu++) {
		struct apf_guest_cpu *c = f->guest.cpu[cpu];

		check(c->nr_early <= APF_GUEST_EARLY);
		for (int i = 0; i < APF_GUEST_BUCKETS; i++) {
			struct apf_guest_waiter **link = &c->bucket[i];

			for (; *link; link = &(*link)->next) {
				check((*link)->link == link && (*link)->cpu == c->id);
				queued++;
			}
		}
	}
	for (int i = 0; i < WAITERS; i++)
		sleeping += f->sleeping[i] != NULL;
	check(queued == sleeping);
}

static void step(struct fuzz *f)
{
	switch (take(f, 1) % 9) {
	case 0:
		write_area(f);
		break;
	case 1:
		step_notice(f);
		break;
	case 2:
		step_wait(f);
		break;
	case 3:
		apf_guest_x86_ready(&f->guest);
		break;
	case 4:
		f->cpu = (f->cpu + 1) % CPUS;
		break;
	case 5:
		step_boot(f);
		break;
	case 6:
		step_page_fault(f);
		break;
	case 7:
		apf_guest_x86_enable(&f->guest);
		break;
	case 8:
		f->refused = take(f, 1);
		apf_guest_x86_detect(&f->guest);
		break;
	}
	check_lists(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;

	memset(&f, 0, sizeof(f));
	f.data = data;
	f.left = size;
	check(apf_guest_init(&f.guest, &ops, &f, CPUS) == 0);
	while (f.left)
		step(&f);
	step_boot(&f);
	return 0;
}
