/* SPDX-License-Identifier: MIT */
/* Plays that several checks begin with, and the rows that all generations have in common. */
#include "conformance.h"

#define MS		1000000ull
#define SETTLE_NS	(30 * MS)
#define BROADCAST_NS	(3000 * MS)	/* only one that does not come takes so long */
#define REASON_READY	2

/* --- plays --- */

struct conf_counts conf_finish(struct conf_vm *vm, const char *rows)
{
	uint64_t wrong;

	conf_release(vm);
	wrong = conf_number(conf_ask(vm, "@apf done", "wait"), "wrong");
	conf_expect(vm->c, rows, !wrong, "%llu wrong bytes", (unsigned long long)wrong);
	return conf_counts(vm);
}

struct conf_counts conf_job(struct conf_vm *vm, const char *rows, const char *mode)
{
	conf_ask(vm, "@apf started", "start %s", mode);
	return conf_finish(vm, rows);
}

void conf_finish_told(struct conf_vm *vm, const char *rows, const struct conf_counts *asleep)
{
	const struct conf_counts n = conf_finish(vm, rows);

	conf_expect(vm->c, rows, n.ready - asleep->ready == vm->at.tasks,
		    "%llu readies for %u tasks", (unsigned long long)(n.ready - asleep->ready),
		    vm->at.tasks);
}

void conf_expect_token_stays(struct conf_vm *vm, const char *rows, const struct conf_counts *asleep)
{
	struct conf_counts n;

	conf_pages_came(vm);
	conf_acknowledge(vm);
	n = conf_counts(vm);
	conf_ask(vm, "@apf area", "area");
	conf_expect(vm->c, rows, n.ready == asleep->ready &&
		    conf_number(vm->line, "token") == CONF_OLD_TOKEN,
		    "the token word was taken, yet %llu readies came and the area reads \"%s\"",
		    (unsigned long long)(n.ready - asleep->ready), vm->line);
}

struct conf_counts conf_start(struct conf_vm *vm)
{
	const uint64_t since = vmm_now_ns();
	struct conf_counts n;

	conf_ask(vm, "@apf started", "start touch");
	do
		n = conf_counts(vm);
	while (n.slept - n.woken < vm->at.tasks && conf_still(vm, since, "task asleep for each page"));
	return conf_counts(vm);	/* tasks may have run while the last ones were printed */
}

void conf_start_blind(struct conf_vm *vm, const char *mode, uint32_t pages)
{
	const uint64_t since = vmm_now_ns();

	conf_say(vm, "start %s", mode);
	while (conf_in_flight(vm, false) < pages && conf_still(vm, since, "fetch of so many pages"))
		conf_sleep(MS);
}

void conf_pages_came(struct conf_vm *vm)
{
	const uint64_t since = vmm_now_ns();

	conf_release(vm);
	while (conf_in_flight(vm, false) && conf_still(vm, since, "arrival of all pages"))
		conf_sleep(MS);
	conf_sleep(SETTLE_NS);
}

struct conf_counts conf_broadcast(struct conf_vm *vm, const struct conf_counts *before)
{
	const uint64_t until = vmm_now_ns() + BROADCAST_NS;

	while (conf_counts(vm).broadcasts == before->broadcasts && !*vm->c->trouble &&
	       vmm_now_ns() < until)
		;
	return conf_counts(vm);	/* those of one moment */
}

void conf_silence(struct conf_vm *vm, const char *rows, const char *when)
{
	const struct conf_counts before = conf_counts(vm), n = conf_job(vm, rows, "touch");

	conf_expect(vm->c, rows, n.np == before.np && n.ready == before.ready,
		    "%s: %llu NPs, %llu readies", when, (unsigned long long)(n.np - before.np),
		    (unsigned long long)(n.ready - before.ready));
}

struct conf_tokens conf_answers(struct conf_vm *vm, const struct conf_counts *n, const char *more)
{
	const struct conf_tokens t = conf_tokens(vm);
	struct conf *c = vm->c;

	conf_expect(c, "C1", !t.stray, "%u of %u readies carry a token without NP", t.stray, t.ready);
	conf_expect(c, "C2", !t.open && t.np == t.ready, "%u NPs, %u readies, %u NPs without one",
		    t.np, t.ready, t.open);
	conf_expect(c, "C8", !t.twice && !t.odd, "%u tokens were in use already, %u are none "
		    "or another CPU's", t.twice, t.odd);
	conf_expect(c, "C1 C8", !n->rejected, "the guest rejected %llu notifications",
		    (unsigned long long)n->rejected);
	conf_expect(c, more, t.np > 0 && t.ready == t.np && !t.odd && !n->rejected,
		    "%u NPs, %u readies, %u odd tokens, %llu rejected", t.np, t.ready, t.odd,
		    (unsigned long long)n->rejected);
	return t;
}

/* --- checks --- */

/* All tasks sleep at times, so the CPU is in HLT when a ready comes (L11). */
void conf_check_touch(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 4, .cpus = 1, .latency_ns = 20 * MS };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;
	unsigned int data;

	conf_restore(c, &vm, &setup);
	data = vm.at.tasks * vm.at.pages;
	n = conf_job(&vm, "C11 C15 A7", "touch");
	t = conf_answers(&vm, &n, "L3 L4 L5 L11 I5 A4 A5 A8 A12");
	conf_expect(c, "C2", conf_fetched(&vm) == data, "%u pages were touched, %llu fetched", data,
		    (unsigned long long)conf_fetched(&vm));
	conf_expect(c, "C15 A7", t.np <= data, "%u NPs for %u pages: a ready came before its page",
		    t.np, data);
	n = conf_job(&vm, "C2", "touch");
	conf_expect(c, "C2", n.np == t.np, "an NP for a page that was here");
	conf_expect(c, "L2 A17", !conf_number(conf_ask(&vm, "@apf area", "area"), "pad") &&
		    conf_number(vm.line, "enabled") == 1 && !conf_number(vm.line, "reason"),
		    "the guest's area reads \"%s\"", vm.line);
	conf_end(&vm);
}

void conf_check_cpus(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 4, .cpus = c->cpus,
					  .latency_ns = 5 * MS };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	n = conf_job(&vm, "C11 A7", "write");
	t = conf_answers(&vm, &n, "L3 A4");
	conf_expect(c, "C15 A7", t.np <= vm.at.tasks * vm.at.pages, "%u NPs for %u pages to write", t.np,
		    vm.at.tasks * vm.at.pages);
	conf_end(&vm);
}

/* One of two tasks on one CPU meets a page for which the other sleeps already. */
static void meet_shared(struct conf_vm *vm, const struct conf_counts *before)
{
	const uint64_t since = vmm_now_ns();
	struct conf_counts n;
	uint32_t wanted;

	conf_ask(vm, "@apf started", "start shared");
	do
		n = conf_counts(vm);
	while (n.slept - n.woken < vm->at.tasks / 2 && conf_still(vm, since, "task asleep for each page"));
	while (conf_is_user(vm->c) && !(conf_host(vm).repeats && conf_host(vm).halts) &&
	       conf_still(vm, since, "repeated fault that halts"))
		conf_counts(vm);
	n = conf_counts(vm);
	wanted = conf_in_flight(vm, false);
	conf_expect(vm->c, "C3 C7", n.np - before->np <= wanted, "%llu NPs for %u pages",
		    (unsigned long long)(n.np - before->np), wanted);
}

void conf_check_shared(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 4, .cpus = 1, .latency_ns = 20 * MS,
					  .held = true };
	struct conf_counts n;
	struct conf_vm vm;
	unsigned int data;

	conf_restore(c, &vm, &setup);
	data = vm.at.tasks / 2 * vm.at.pages;
	n = conf_counts(&vm);
	meet_shared(&vm, &n);
	n = conf_finish(&vm, "C3 C7 C11");
	conf_answers(&vm, &n, "C3 C7");
	conf_expect(c, "C2", conf_fetched(&vm) == data, "%u pages were touched, %llu fetched", data,
		    (unsigned long long)conf_fetched(&vm));
	conf_end(&vm);
}

void conf_touch_privileged(struct conf *c, const char *rows, const char *mode, const char *words,
			   bool served)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .words = words, .cpus = 1,
					  .held = true };
	struct conf_counts before, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	before = conf_counts(&vm);
	conf_start_blind(&vm, mode, served ? 2 : 1);
	conf_sleep(SETTLE_NS);
	conf_expect(c, "C4", (conf_in_flight(&vm, true) > 1) == served, "mode %s: at most %u pages were "
		    "on their way at once", mode, conf_in_flight(&vm, true));
	conf_release(&vm);
	conf_hear(&vm, "@apf started");
	n = conf_finish(&vm, "C4 C11");
	conf_expect(c, rows, n.np == before.np && !n.rejected, "mode %s: %llu NPs", mode,
		    (unsigned long long)(n.np - before.np));
	conf_expect(c, "C7", n.ready == before.ready, "mode %s: %llu readies without NP", mode,
		    (unsigned long long)(n.ready - before.ready));
	conf_end(&vm);
}

void conf_check_privileged(struct conf *c)
{
	if (c->emulated) {
		conf_unseen(c, "C4", "this KVM emulates privileged code, whose touches do not fault "
			    "as those of a processor do; run it in the lab");
		return;
	}
	conf_touch_privileged(c, "C4 L4 A6", "kernel", "", true);
	conf_touch_privileged(c, "C4", "irqoff", "", false);
}

void conf_check_full(struct conf *c)
{
	const unsigned int room = conf_is_user(c) ? 16 : 64;	/* KVM's is fixed */
	const struct conf_setup setup = { .tasks = 80, .pages = 1, .cpus = 1, .held = true,
					  .max_outstanding = 16 };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;
	uint64_t since;

	conf_restore(c, &vm, &setup);
	conf_start_blind(&vm, "touch", room + 1);
	since = vmm_now_ns();
	while (conf_is_user(c) && !conf_host(&vm).full && conf_still(&vm, since, "full host"))
		conf_sleep(MS);	/* a page is asked for before the host decides */
	conf_release(&vm);
	conf_hear(&vm, "@apf started");
	n = conf_finish(&vm, "C5");
	t = conf_answers(&vm, &n, "C5");
	/* The entry of a ready that the guest has not taken yet is free already. */
	conf_expect(c, "C5", t.most <= room + 1, "%u NPs open at once, room for %u", t.most, room);
	if (conf_is_user(c))
		conf_expect(c, "C5", conf_host(&vm).full, "the host was never full");
	conf_end(&vm);
}

void conf_check_off(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .held = true };
	struct conf_counts asleep, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_ask_and_release(&vm, "@apf area", "apf off");
	conf_expect(c, "C10 N7 A9", !vm.open_at_answer, "%u faults outstanding after disabling",
		    vm.open_at_answer);
	n = conf_finish(&vm, "C10 L7 N7 A9");
	conf_expect(c, "C10 L7 N7 A9", n.ready == asleep.ready && n.np == asleep.np,
		    "%llu readies and %llu NPs after disabling",
		    (unsigned long long)(n.ready - asleep.ready),
		    (unsigned long long)(n.np - asleep.np));
	conf_expect(c, "C10", !conf_number(conf_ask(&vm, "@apf area", "area"), "reason") &&
		    !conf_number(vm.line, "token"), "the host wrote to the area of a guest without "
		    "APF: \"%s\"", vm.line);
	conf_ask(&vm, "@apf area", "apf on");
	asleep = n;
	n = conf_broadcast(&vm, &asleep);
	/* The RFC's guest left PF2 on: writing EN sends one, and writing PF2 another. */
	conf_expect(c, "L10 I3 N7 A9", n.broadcasts > asleep.broadcasts &&
		    n.broadcasts <= asleep.broadcasts + (c->gen->letter == 'I' ? 2 : 1) &&
		    n.ready == asleep.ready,
		    "enabling sent %llu wake-alls and %llu readies",
		    (unsigned long long)(n.broadcasts - asleep.broadcasts),
		    (unsigned long long)(n.ready - asleep.ready));
	conf_end(&vm);
}

/* The area as a ready leaves it that was not taken yet. */
void conf_check_area_taken(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .latency_ns = 20 * MS };
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf area", "poke 0 %u", REASON_READY);
	conf_silence(&vm, "I4 A6", "the area is taken");
	conf_ask(&vm, "@apf area", "area");
	conf_expect(c, "I4 A6", conf_number(vm.line, "reason") == REASON_READY,
		    "the host wrote into a taken area: \"%s\"", vm.line);
	conf_end(&vm);
}

void conf_check_ready_held(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .held = true };
	struct conf_counts asleep, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_ask(&vm, "@apf area", "poke 0 %u", REASON_READY);
	conf_pages_came(&vm);
	n = conf_counts(&vm);
	conf_expect(c, "I4 A6", n.ready == asleep.ready, "a ready came although the area was taken");
	conf_ask(&vm, "@apf area", "poke 0 0");
	conf_finish_told(&vm, "I4 A6", &asleep);
	conf_end(&vm);
}

/* Enabling once more what is enabled sends a wake-all, here to tasks that do sleep. */
void conf_check_wake_all(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .held = true };
	struct conf_counts asleep, n;
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_enable_again(&vm);
	n = conf_broadcast(&vm, &asleep);
	conf_expect(c, "C6 L10 N7 A9", n.broadcasts == asleep.broadcasts + 1,
		    "%llu wake-alls", (unsigned long long)(n.broadcasts - asleep.broadcasts));
	conf_expect(c, "C6", n.woken >= asleep.slept, "a wake-all woke %llu of %u waiters",
		    (unsigned long long)(n.woken - asleep.woken), vm.at.tasks);
	conf_finish(&vm, "C6");
	t = conf_tokens(&vm);
	conf_expect(c, "C2", !t.stray && !t.open, "%u readies for tokens that a wake-all had answered, "
		    "%u NPs without answer", t.stray, t.open);
	conf_end(&vm);
}
