/* SPDX-License-Identifier: MIT */
/*
 * A hostile host against libapf-guest: any words in the area at any time, any
 * #PF or data abort, interrupts nobody asked for, refused control writes and calls. The
 * host may stop the guest; it must not corrupt its lists, wake anyone twice or who does
 * not wait, or leave anyone asleep once the CPU is offline.
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

/* Only the whole hook comes here, and the harness calls it with no_sleep. */
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

static uint64_t halves(const uint64_t x[2])
{
	check(!(x[0] >> 32) && !(x[1] >> 32));
	return x[0] | x[1] << 32;
}

static void op_hvc(void *ctx, const uint64_t x[7], uint64_t r[4])
{
	struct fuzz *f = ctx;
	uint64_t what = halves(&x[1]);
	uint32_t op = (uint32_t)(what >> APF_ARM64_OP_SHIFT);
	bool refused = f->refused & 1;

	check(x[0] == APF_ARM64_FN_FEATURES || x[0] == APF_ARM64_FN_APF);
	if (x[0] == APF_ARM64_FN_FEATURES || op == APF_ARM64_OP_INFO) {
		for (int i = 0; i < 4; i++)
			r[i] = take(ctx, 4);
		return;
	}
	check(op == APF_ARM64_OP_ENABLE || op == APF_ARM64_OP_REGION || op == APF_ARM64_OP_ACK);
	check(!(what & APF_ARM64_ADDR_MASK) ||
	      (what & APF_ARM64_ADDR_MASK) == f->guest.cpu[f->cpu]->phys);
	check(op == APF_ARM64_OP_REGION || (!halves(&x[3]) && !halves(&x[5])));
	f->refused >>= 1;
	memset(r, 0, 4 * sizeof(*r));
	if (refused)
		r[0] = (uint64_t)(int64_t)APF_ARM64_NOT_SUPPORTED;
}

static void op_eoi(void *ctx)
{
	(void)ctx;
}

/* --- the library, of whichever architecture --- */

static bool is_arm64(const struct fuzz *f)
{
	return f->guest.abi >= APF_GUEST_ARM64_ABORT;
}

static void enable(struct fuzz *f)
{
	if (is_arm64(f))
		apf_guest_arm64_enable(&f->guest);
	else
		apf_guest_x86_enable(&f->guest);
}

static void disable(struct fuzz *f)
{
	if (is_arm64(f))
		apf_guest_arm64_disable(&f->guest);
	else
		apf_guest_x86_disable(&f->guest);
}

static void ready(struct fuzz *f)
{
	if (is_arm64(f))
		apf_guest_arm64_ready(&f->guest);
	else
		apf_guest_x86_ready(&f->guest);
}

static void write_area(struct fuzz *f)
{
	struct apf_area_x86 *area = &f->guest.cpu[f->cpu]->area;

	area->reason = take(f, 1);
	area->token = take(f, 4);
	if (is_arm64(f))
		f->guest.cpu[f->cpu]->area_arm64.busy = take(f, 1) & 1;
}

/* While a CPU halts the host does what it likes; in the end the CPU is taken offline. */
static void op_halt(void *ctx)
{
	struct fuzz *f = ctx;

	write_area(f);
	ready(f);
	if (++f->halts > PATIENCE)
		disable(f);
}

static const struct apf_guest_ops ops = {
	.cpu = op_cpu, .alloc = op_alloc, .can_sleep = op_can_sleep, .sleep = op_sleep,
	.wake = op_wake, .halt = op_halt, .wrmsr = op_wrmsr, .cpuid = op_cpuid, .hvc = op_hvc,
	.eoi = op_eoi,
};

/* --- steps --- */

/* A fault for both: what is no error code is no syndrome. */
struct fault {
	struct apf_guest_x86_trap x86;
	struct apf_guest_arm64_trap arm64;
};

static struct fault take_fault(struct fuzz *f)
{
	uint32_t flags = take(f, 1), odd = flags >> 2 & 7;
	uint64_t address = take(f, 4) | (flags & 0x80 ? (uint64_t)flags << 40 : 0);
	bool user = flags & 1, irqs_on = flags & 2;

	return (struct fault){
		.x86 = { .cr2 = address, .error_code = odd, .user = user, .irqs_on = irqs_on },
		.arm64 = { .far = address, .irqs_on = irqs_on,
			   .esr = (user ? APF_ARM64_ESR_EL0 : APF_ARM64_ESR_EL1) ^ odd,
			   .pc = is_arm64(f) ? take(f, 1) : 0 },
	};
}

/* May the guest have taken this for an NP? */
static void check_notice(const struct fuzz *f, const struct fault *fault, uint32_t token)
{
	const struct apf_guest *g = &f->guest;

	check(fault->x86.cr2 == token && !fault->x86.error_code && fault->x86.irqs_on);
	check(token && token != APF_TOKEN_BROADCAST);
	check(fault->x86.user || g->send_always);
	if (!is_arm64(f))
		return;
	check(!g->keeps_busy || !g->cpu[f->cpu]->area_arm64.busy);
	for (uint32_t i = 0; i < g->regions; i++)
		check(fault->arm64.pc < g->region[i].start ||
		      fault->arm64.pc - g->region[i].start >= g->region[i].size);
}

static void step_notice(struct fuzz *f)
{
	struct fault fault = take_fault(f);
	uint32_t slot = take(f, 1) % NOTICES;
	struct apf_guest_notice *n = &f->notice[slot];
	enum apf_guest_pf found = is_arm64(f) ?
		apf_guest_arm64_notice(&f->guest, &fault.arm64, n) :
		apf_guest_x86_notice(&f->guest, &fault.x86, n);

	f->has_notice[slot] = found == APF_GUEST_PF_WAIT;
	if (f->has_notice[slot])
		check_notice(f, &fault, n->token);
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

static void step_fault(struct fuzz *f)
{
	struct fault fault = take_fault(f);
	struct apf_guest_waiter w;

	f->no_sleep = true;
	f->halts = 0;
	check((is_arm64(f) ? apf_guest_arm64_abort(&f->guest, &fault.arm64, &w) :
	       apf_guest_x86_page_fault(&f->guest, &fault.x86, &w)) != APF_GUEST_PF_WAIT);
}

static void disable_all(struct fuzz *f)
{
	uint32_t cpu = f->cpu;

	for (f->cpu = 0; f->cpu < CPUS; f->cpu++)
		disable(f);
	for (int i = 0; i < WAITERS; i++)
		check(!f->sleeping[i]);
	f->cpu = cpu;
}

/* The generation changes only while APF is off everywhere. */
static void step_boot(struct fuzz *f)
{
	disable_all(f);
	f->guest.abi = take(f, 1) % (APF_GUEST_ARM64_INT + 1);
	f->guest.send_always = take(f, 1) & 1;
	enable(f);
}

/* And so do the regions, and whether there is a busy word. */
static void step_regions(struct fuzz *f)
{
	uint64_t start = take(f, 1), size = take(f, 1);

	disable_all(f);
	apf_guest_arm64_add_region(&f->guest, start, size);
	check(f->guest.regions <= APF_ARM64_REGIONS);
	f->guest.keeps_busy = size & 1;
}

static void step_busy(struct fuzz *f)
{
	apf_guest_arm64_busy_begin(&f->guest);
	step_fault(f);
	apf_guest_arm64_busy_end(&f->guest);
}

static void detect(struct fuzz *f)
{
	enum apf_guest_abi found = is_arm64(f) ? apf_guest_arm64_detect(&f->guest) :
						 apf_guest_x86_detect(&f->guest);

	check(is_arm64(f) || found <= APF_GUEST_X86_INT);
	check(found != APF_GUEST_ARM64_INT || (f->guest.intid >= 16 && f->guest.intid < 32));
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
	switch (take(f, 1) % 11) {
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
		ready(f);
		break;
	case 4:
		f->cpu = (f->cpu + 1) % CPUS;
		break;
	case 5:
		step_boot(f);
		break;
	case 6:
		step_fault(f);
		break;
	case 7:
		enable(f);
		break;
	case 8:
		f->refused = take(f, 1);
		detect(f);
		break;
	case 9:
		step_regions(f);
		break;
	case 10:
		step_busy(f);
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
