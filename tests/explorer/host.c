/* SPDX-License-Identifier: MIT */
/*
 * The host of the explorer's machine: the engine's functions on the machine's
 * memory and APICs, and what a binding does around the engine. Here also stand
 * the checks of all that leaves the engine.
 */
#include <string.h>

#include <abi/apf_abi_arm64.h>
#include <abi/apf_abi_x86.h>
#include <tests/engine/invariants.h>

#include "model.h"

const struct scenario *scenario;
struct state *now;
const char *violation;

#define RAM_BYTES	0x100000u

static _Alignas(64) char live[VCPUS][2048];
static uint32_t word_before[VCPUS];	/* token words at the start of the step */
static bool injection_fails;

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

/* Only the vCPU's area exists. */
static struct guest_memory memory_of(unsigned int c)
{
	struct cpu *cpu = &now->cpu[c];

	return (struct guest_memory){ .bytes = cpu->area, .gpa = AREA(c), .ram = RAM_BYTES,
				      .size = GUEST_AREA_SIZE(is_arm()),
				      .unreachable = cpu->unreachable };
}

static void check_inside(const struct guest_memory *m, uint64_t gpa)
{
	if (!guest_memory_at(m, gpa, 4))
		violate("guest memory outside the area was accessed");
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	const struct guest_memory m = memory_of(cpu_of(ctx));

	check_inside(&m, gpa);
	return guest_memory_read(&m, gpa, value, 4);
}

static void check_token_word(unsigned int c, const uint32_t *w, uint32_t value)
{
	const struct cpu *cpu = &now->cpu[c];

	if (w == &cpu->token && *w && value)
		violate("N4: a token word was overwritten that the guest had not cleared");
	if (w == &cpu->token && !value && word_before[c] && apf_vcpu_enabled(engine(c)) &&
	    cpu->enabled)
		violate("N4: a token word was cleared under a guest that uses it");
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	unsigned int c = cpu_of(ctx);
	const struct guest_memory m = memory_of(c);
	const uint32_t *w = guest_memory_at(&m, gpa, 4);

	check_inside(&m, gpa);
	if (!w || m.unreachable)
		return -1;
	if (now->frozen)
		violate("guest memory was written while the VM was frozen");
	if (w == &now->cpu[c].busy)
		violate("A17: the guest's own word was written");
	if (has_token_word())
		check_token_word(c, w, value);
	if (scenario->abi != APF_ABI_X86_INT && w == &now->cpu[c].reason && *w && value)
		violate("I4, L5, A6: a notification was written over another");
	return guest_memory_write(&m, gpa, &value, 4);
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	const struct guest_memory m = memory_of(cpu_of(ctx));

	return guest_memory_is_ram(&m, gpa, len);
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

	if (vector != (is_arm() ? PPI : VECTOR) || vcpu_id != cpu_of(ctx))
		violate("N1: wrong interrupt");
	if (!cpu->token || (scenario->abi == APF_ABI_X86_RFC && cpu->reason != APF_REASON_READY))
		violate("C15: interrupt before the token word");
	if (ready_is_pf())
		violate("L5, I6: an interrupt where ready is an exception");
	if (!cpu->apic_on && !is_arm())
		return 0;
	cpu->irr = true;
	settle(vcpu_id, cpu->token);
	return 1;
}

static void op_lower(void *ctx, uint32_t vcpu_id, uint8_t irq)
{
	if (irq != PPI || vcpu_id != cpu_of(ctx))
		violate("A16: wrong line");
	now->cpu[vcpu_id].irr = false;
}

/* L5, L11, A5: into a vCPU that can take an exception, even out of a HLT. */
static int op_inject(void *ctx, uint32_t token)
{
	unsigned int c = cpu_of(ctx);
	struct cpu *cpu = &now->cpu[c];

	if (!ready_is_pf() || cpu->reason != APF_REASON_READY)
		violate("C13: a ready as an exception without its reason word");
	if (cpu->exception || cpu->host == WAITING || (cpu->task && cpu->mode == IRQS_OFF))
		violate("L5: a ready where the vCPU cannot take it");
	if (cpu->busy)
		violate("A11: a ready where the guest cannot take it");
	if (scenario->abi == APF_ABI_X86_RFC && cpu->token != token)
		violate("I5, I6: the area names another token than the exception");
	if (injection_fails)
		return -1;
	cpu->exception = token;
	cpu->host = RUNNING;
	settle(c, token);
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

void make_engine(unsigned int c, uint32_t set_size)
{
	struct apf_vcpu_config cfg = {
		.abi = scenario->abi,
		.vcpu_id = c,
		.max_outstanding = set_size,
		.has_lapic = true,
		.ready_irq = PPI,
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
	if (out & APF_OUT_KICK)
		now->cpu[c].due = true;
}

bool write_msr(unsigned int c, uint32_t reg, uint64_t value)
{
	unsigned int out;

	if (apf_vcpu_control_write(engine(c), reg, value, &out)) {
		violate("a valid control write was refused");
		return false;
	}
	act_on(c, out);
	return true;
}

void call_host(unsigned int c, const uint64_t x[6], uint64_t result[4])
{
	unsigned int out;

	if (apf_vcpu_call(engine(c), x, result, &out))
		violate("a call was not answered");
	act_on(c, out);
}

void write_controls(unsigned int c)
{
	uint64_t en = AREA(c) | APF_EN_ENABLED | (scenario->always ? APF_EN_SEND_ALWAYS : 0);

	if (!ready_is_pf())
		en |= APF_EN_INT;
	if (!ready_is_pf() && scenario->abi == APF_ABI_X86_INT)
		write_msr(c, APF_MSR_INT, VECTOR);
	write_msr(c, APF_MSR_EN, en);
	if (!ready_is_pf() && scenario->abi == APF_ABI_X86_RFC)
		write_msr(c, APF_MSR_INT, VECTOR | APF_PF2_ENABLED);
}

static void check_np(unsigned int c, uint8_t mode, uint32_t token)
{
	const struct cpu *cpu = &now->cpu[c];

	if (mode != USER && !(mode == KERNEL && scenario->always))
		violate("C4: an NP where the gate forbids it");
	if (!cpu->enabled || cpu->handler || cpu->exception || cpu->noticed || cpu->halting)
		violate("C4: an NP where the gate forbids it");
	if (cpu->busy)
		violate("A11: an NP where the guest cannot take it");
	if (scenario->abi == APF_ABI_X86_RFC && cpu->token != token)
		violate("I5: the area does not name the NP's token");
	if (word_before[c] == APF_TOKEN_BROADCAST)
		violate("C12: an NP between a wake-all and its handler");
	for (unsigned int t = 0; t < scenario->tasks; t++)
		if (now->task[t].token == token)
			violate("C8: a token was given out while it was alive");
	for (unsigned int i = 0; i < VCPUS; i++)
		if (word_before[i] == token || scenario->guest->knows(token))
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

static void page_over(unsigned int c, uint64_t page)
{
	act_on(c, now->page[page] == FAILED ? apf_vcpu_page_failed(engine(c), page)
					    : apf_vcpu_page_done(engine(c), page));
}

void host_want(unsigned int c, uint64_t page)
{
	uint8_t *p = &now->page[page];

	if (*p == ABSENT)
		*p = FETCHING;
	else if (*p != FETCHING)
		page_over(c, page);
}

/* The vCPU stands between two runs. */
void host_enter(unsigned int c, bool fails)
{
	struct cpu *cpu = &now->cpu[c];
	const struct apf_fault at = {
		.user = cpu->task && cpu->mode == USER && !cpu->noticed,
		.irqs_on = !(cpu->task && cpu->mode == IRQS_OFF),
		.event = cpu->exception, .paging = true,
	};
	unsigned int out;

	injection_fails = fails;
	if (fails)
		spend(EV_UNDO);
	cpu->due = false;
	out = apf_vcpu_enter(engine(c), &at);
	if (out & APF_OUT_KICK)
		violate("L5: at the entry, and it asks for the entry");
	act_on(c, out);
	injection_fails = false;
}

void host_ask(unsigned int c)
{
	uint64_t page = now->cpu[c].ask - 1u;

	now->cpu[c].ask = 0;
	host_want(c, page);
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
	page_over(c, page);
}
