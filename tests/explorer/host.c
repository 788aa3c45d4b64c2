/* SPDX-License-Identifier: MIT */
/*
 * The host of the explorer's machine: the engine's functions on the machine's
 * memory and APICs, and what a binding does around the engine. Here also stand
 * the checks of all that leaves the engine.
 */
#include <string.h>

#include <abi/apf_abi_x86.h>
#include <tests/engine/invariants.h>

#include "model.h"

#define AREA(c)		(0x1000ull * ((c) + 1))
#define VECTOR		0xf3

const struct scenario *scenario;
struct state *now;
const char *violation;

static _Alignas(64) char live[VCPUS][2048];
static uint32_t word_before[VCPUS];	/* token words at the start of the step */

void violate(const char *what)
{
	if (!violation)
		violation = what;
}

struct apf_vcpu *engine(unsigned int c)
{
	return (struct apf_vcpu *)live[c];
}

void engines_in(const struct state *s)
{
	for (unsigned int c = 0; c < VCPUS; c++) {
		memcpy(live[c], s->cpu[c].engine, BLOCK);
		word_before[c] = s->cpu[c].token;
	}
}

/* Leave the statistics behind: they would make every state a new one. */
void engines_out(struct state *s)
{
	for (unsigned int c = 0; c < VCPUS; c++) {
		size_t size = apf_vcpu_state_size(engine(c));
		const char *broken;

		if (!memcmp(s->cpu[c].engine, live[c], size))
			continue;
		broken = broken_invariant(engine(c));
		if (broken)
			violate(broken);
		memset(s->cpu[c].engine, 0, BLOCK);
		memcpy(s->cpu[c].engine, live[c], size);
	}
}

static unsigned int cpu_of(void *ctx)
{
	return (unsigned int)(uintptr_t)ctx;
}

static uint32_t *word(unsigned int c, uint64_t gpa)
{
	struct cpu *cpu = &now->cpu[c];

	if (gpa != AREA(c) + APF_AREA_REASON && gpa != AREA(c) + APF_AREA_TOKEN)
		violate("guest memory outside the area was accessed");
	return gpa == AREA(c) + APF_AREA_REASON ? &cpu->reason : &cpu->token;
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	unsigned int c = cpu_of(ctx);

	*value = *word(c, gpa);
	return now->cpu[c].unreachable ? -1 : 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	unsigned int c = cpu_of(ctx);
	uint32_t *w = word(c, gpa);

	if (now->cpu[c].unreachable)
		return -1;
	if (now->frozen)
		violate("guest memory was written while the VM was frozen");
	if (w == &now->cpu[c].token && *w && value)
		violate("N4: a token word was overwritten that the guest had not cleared");
	if (w == &now->cpu[c].token && !value && word_before[c] &&
	    apf_vcpu_enabled(engine(c)) && now->cpu[c].enabled)
		violate("N4: a token word was cleared under a guest that uses it");
	*w = value;
	return 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len)
{
	return gpa < 0x100000;
}

/* C2: the one ready of an NP that was delivered; a wake-all covers all so far. */
static void settle(unsigned int c, uint32_t token)
{
	bool found = token == APF_TOKEN_BROADCAST;

	for (unsigned int t = 0; t < scenario->tasks; t++) {
		struct task *task = &now->task[t];

		if (scenario->cpu_of[t] != c || !task->owed)
			continue;
		if (token == APF_TOKEN_BROADCAST || task->token == token) {
			task->owed = false;
			found = true;
		}
	}
	if (!found)
		violate("C2: a ready for an NP that was not delivered, or a second one");
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct cpu *cpu = &now->cpu[vcpu_id];

	if (vector != VECTOR || vcpu_id != cpu_of(ctx))
		violate("N1: wrong interrupt");
	if (!cpu->token)
		violate("C15: interrupt before the token word");
	if (!cpu->apic_on)
		return 0;
	cpu->irr = true;
	settle(vcpu_id, cpu->token);
	return 1;
}

static const struct apf_engine_ops ops = {
	.read32 = op_read32,
	.write32 = op_write32,
	.is_ram = op_is_ram,
	.raise = op_raise,
};

void make_engine(unsigned int c, uint32_t set_size)
{
	struct apf_vcpu_config cfg = {
		.abi = APF_ABI_X86_INT,
		.vcpu_id = c,
		.max_outstanding = set_size,
		.has_lapic = true,
		.policy.tokens_per_page = scenario->tokens_per_page,
	};
	struct apf_vcpu *v;

	memset(live[c], 0, sizeof(live[c]));
	if (apf_vcpu_init(live[c], sizeof(live[c]), &cfg, &ops, (void *)(uintptr_t)c, &v) ||
	    apf_vcpu_state_size(v) > BLOCK)
		violate("the explorer's block is too small");
}

void act_on(unsigned int c, unsigned int out)
{
	if (out & APF_OUT_LATER)
		now->cpu[c].later = true;
	if (out & APF_OUT_WAKE)
		now->cpu[c].host = RUNNING;
}

void write_msr(unsigned int c, uint32_t reg, uint64_t value)
{
	unsigned int out;

	if (apf_vcpu_control_write(engine(c), reg, value, &out))
		violate("a valid control write was refused");
	else
		act_on(c, out);
}

void enable_apf(unsigned int c)
{
	write_msr(c, APF_MSR_INT, VECTOR);
	write_msr(c, APF_MSR_EN, AREA(c) | APF_EN_ENABLED | APF_EN_INT);
}

static void check_np(unsigned int c, uint8_t mode, uint32_t token)
{
	const struct cpu *cpu = &now->cpu[c];

	if (mode != USER || !cpu->enabled || cpu->handler || cpu->exception)
		violate("C4: an NP where the gate forbids it");
	if (cpu->token == APF_TOKEN_BROADCAST)
		violate("C12: an NP between a wake-all and its handler");
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (now->task[t].token == token)
			violate("C8: a token was given out while it was alive");
	for (unsigned int i = 0; i < VCPUS; i++)
		if (now->cpu[i].token == token || now->dummy[i] == token)
			violate("C8: a token was given out that the guest still knows");
}

static void host_inject(unsigned int c, unsigned int task, const struct apf_decision *d, bool undo)
{
	struct cpu *cpu = &now->cpu[c];

	if (!undo) {
		cpu->exception = d->token;
		now->task[task].token = d->token;
		now->task[task].owed = true;
		return;
	}
	spend(EV_UNDO);
	if (apf_vcpu_undo(engine(c), d->token))
		violate("C13: an NP undone at once was not waiting any more");
	cpu->host = WAITING;
}

void host_fault(unsigned int c, unsigned int task, uint8_t mode, bool undo)
{
	struct apf_fault f = { .gfn = scenario->page_of[task], .user = mode == USER,
			       .irqs_on = mode != IRQS_OFF, .paging = true };
	struct cpu *cpu = &now->cpu[c];
	struct apf_decision d;

	apf_vcpu_fault(engine(c), &f, &d);
	cpu->task = (uint8_t)(task + 1);
	cpu->mode = mode;
	cpu->ask = (uint8_t)(f.gfn + 1);
	if (d.verdict == APF_INJECT) {
		check_np(c, mode, d.token);
		host_inject(c, task, &d, undo);
	} else {
		cpu->host = d.verdict == APF_HALT ? HALTED : WAITING;
		if (cpu->host == HALTED && mode == IRQS_OFF)
			violate("C4: halted with interrupts off");
	}
}

static void want(unsigned int c, uint64_t page)
{
	uint8_t *p = &now->page[page];

	if (*p == ABSENT)
		*p = FETCHING;
	else if (*p != FETCHING)
		act_on(c, apf_vcpu_page_done(engine(c), page));
}

void host_ask(unsigned int c)
{
	uint64_t page = now->cpu[c].ask - 1u;

	now->cpu[c].ask = 0;
	want(c, page);
}

/* Has this vCPU faulted on the page since it was asked for? */
bool host_cares(unsigned int c, unsigned int page)
{
	const struct apf_vcpu *v = engine(c);
	uint32_t token;

	return now->cpu[c].ask == page + 1 || (v->standing && v->fault_gfn == page) ||
	       apf_set_waiting(&v->set, page, &token);
}

void host_tell(unsigned int c, unsigned int page)
{
	now->cpu[c].untold &= (uint8_t)~(1u << page);
	act_on(c, apf_vcpu_page_done(engine(c), page));
}

void host_freeze(bool frozen)
{
	now->frozen = frozen;
	for (unsigned int c = 0; c < VCPUS; c++) {
		apf_vcpu_freeze(engine(c), frozen);
		if (!frozen)
			act_on(c, apf_vcpu_poll(engine(c)));
	}
}

static void want_again(void *arg, uint64_t gfn, uint32_t token)
{
	uint8_t *pages = arg;

	*pages |= (uint8_t)(1u << gfn);
}

/* As from a file of KVM's own APF: only the registers are known. */
static void restore_without_set(unsigned int c)
{
	if (now->cpu[c].enabled)
		enable_apf(c);
}

static void restore_vcpu(unsigned int c, unsigned int how)
{
	uint8_t bytes[512], pages = 0;
	size_t size = apf_vcpu_save(engine(c), bytes, sizeof(bytes));
	int ret;

	make_engine(c, how == 2 ? 1 : scenario->set_size);
	apf_vcpu_freeze(engine(c), true);
	if (how == 1) {
		restore_without_set(c);
		return;
	}
	ret = apf_vcpu_load(engine(c), bytes, size);
	if (ret && how != 2)
		violate("C12: a saved vCPU was refused");
	if (ret)
		act_on(c, apf_vcpu_broadcast(engine(c)));
	apf_vcpu_for_each(engine(c), want_again, &pages);
	for (unsigned int p = 0; p < PAGES; p++)
		if (pages & 1u << p)
			want(c, p);
}

/* Fetches in flight are gone with the old process, pages that had come are kept. */
void host_restore(unsigned int how)
{
	for (unsigned int p = 0; p < PAGES; p++)
		if (now->page[p] == FETCHING)
			now->page[p] = ABSENT;
	for (unsigned int c = 0; c < VCPUS; c++) {
		now->cpu[c].untold = 0;
		now->cpu[c].later = false;
		now->cpu[c].host = RUNNING;	/* C16 */
		restore_vcpu(c, how);
	}
}
