/* SPDX-License-Identifier: MIT */
/* Checks of the rows that all generations have in common, and of those that go with them. */
#include <string.h>

#include <linux/kvm.h>

#include "conformance.h"

#define MS		1000000ull
#define SETTLE_NS	(30 * MS)
#define TASKS_8_4	"tasks=8 pages=4"
#define TASKS_8_1	"tasks=8 pages=1"

/* --- plays --- */

struct conf_counts conf_finish(struct conf_vm *vm, const char *rows)
{
	uint64_t wrong = conf_number(conf_ask(vm, "@apf done", "wait"), "wrong");

	conf_expect(vm->c, rows, !wrong, "%llu wrong bytes", (unsigned long long)wrong);
	return conf_counts(vm);
}

struct conf_counts conf_job(struct conf_vm *vm, const char *rows, const char *mode)
{
	conf_ask(vm, "@apf started", "start %s", mode);
	return conf_finish(vm, rows);
}

struct conf_counts conf_start(struct conf_vm *vm)
{
	const uint64_t until = vmm_now_ns() + vm->c->timeout_ns;
	struct conf_counts c, before = conf_counts(vm);

	conf_ask(vm, "@apf started", "start touch");
	do {
		c = conf_counts(vm);
		if (c.ready > before.ready || c.woken > before.woken) {
			vm->c->late = true;
			conf_trouble(vm->c, "a page came before all tasks had asked for theirs");
		} else if (vmm_now_ns() > until) {
			conf_trouble(vm->c, "of %u tasks %llu sleep for their page", vm->at.tasks,
				     (unsigned long long)(c.slept - c.woken));
		}
	} while (!*vm->c->trouble && c.slept - c.woken < vm->at.tasks);
	return conf_counts(vm);	/* tasks may have run while the last ones were printed */
}

void conf_pages_came(struct conf_vm *vm)
{
	const uint64_t until = vmm_now_ns() + vm->c->timeout_ns;

	while (!*vm->c->trouble && conf_in_flight(vm, false)) {
		if (vmm_now_ns() > until)
			conf_trouble(vm->c, "the pages do not come");
		conf_sleep(MS);
	}
	conf_sleep(SETTLE_NS);
}

struct conf_counts conf_broadcast(struct conf_vm *vm, const struct conf_counts *before)
{
	const uint64_t until = vmm_now_ns() + vm->c->hold_ns / 2;
	struct conf_counts c;

	do
		c = conf_counts(vm);
	while (!*vm->c->trouble && c.broadcasts == before->broadcasts && vmm_now_ns() < until);
	return c;
}

/* What holds in every job of a guest that keeps to the protocol. */
static struct conf_tokens expect_answers(struct conf_vm *vm, const struct conf_counts *n,
					 const char *more)
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
	const struct conf_setup setup = { .words = TASKS_8_4, .cpus = 1, .latency_ns = 20 * MS };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;
	unsigned int data;

	conf_restore(c, &vm, &setup);
	data = vm.at.tasks * vm.at.pages;
	n = conf_job(&vm, "C11 C15", "touch");
	t = expect_answers(&vm, &n, "L3 L4 L5 L11 I5");
	conf_expect(c, "C2", conf_fetched(&vm) == data, "%u pages were touched, %llu fetched", data,
		    (unsigned long long)conf_fetched(&vm));
	conf_expect(c, "C15", t.np <= data, "%u NPs for %u pages: a ready came before its page",
		    t.np, data);
	n = conf_job(&vm, "C2", "touch");
	conf_expect(c, "C2", n.np == t.np, "an NP for a page that was here");
	conf_expect(c, "L2", !conf_number(conf_ask(&vm, "@apf area", "area"), "pad") &&
		    conf_number(vm.line, "enabled") == 1 && !conf_number(vm.line, "reason"),
		    "the guest's area reads \"%s\"", vm.line);
	conf_end(&vm);
}

void conf_check_cpus(struct conf *c)
{
	const struct conf_setup setup = { .words = TASKS_8_4, .cpus = c->cpus,
					  .latency_ns = 5 * MS };
	struct conf_counts n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	n = conf_job(&vm, "C11", "write");
	expect_answers(&vm, &n, "L3");
	conf_end(&vm);
}

/* The second of two tasks on one CPU meets a page for which the first sleeps already. */
void conf_check_shared(struct conf *c)
{
	const struct conf_setup setup = { .words = TASKS_8_4, .cpus = 1, .latency_ns = 20 * MS };
	struct apf_vcpu_stats host;
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;
	unsigned int data;

	conf_restore(c, &vm, &setup);
	data = vm.at.tasks / 2 * vm.at.pages;
	n = conf_job(&vm, "C3 C7 C11", "shared");
	t = expect_answers(&vm, &n, "C3 C7");
	conf_expect(c, "C3", t.np <= data, "%u NPs for %u pages", t.np, data);
	conf_expect(c, "C2", conf_fetched(&vm) == data, "%u pages were touched, %llu fetched", data,
		    (unsigned long long)conf_fetched(&vm));
	host = conf_host(&vm);
	if (conf_is_user(c))
		conf_expect(c, "C3 C7", host.repeats && host.halts, "%llu repeated faults, %llu halts",
			    (unsigned long long)host.repeats, (unsigned long long)host.halts);
	conf_end(&vm);
}

/*
 * The kernel touches the tasks' pages: with interrupts on it is halted, and the timer takes
 * the CPU to other tasks, so that several pages are asked for at once; with interrupts off
 * or in their shadow nothing is served.
 */
static void touch_privileged(struct conf *c, const char *mode, bool served)
{
	const struct conf_setup setup = { .words = TASKS_8_1, .cpus = 1, .latency_ns = 100 * MS };
	struct conf_counts before, n;
	struct conf_vm vm;
	uint32_t most;

	conf_restore(c, &vm, &setup);
	before = conf_counts(&vm);
	n = conf_job(&vm, "C4 C11", mode);
	most = conf_in_flight(&vm, true);
	conf_expect(c, "C4 L4 A6", n.np == before.np && !n.rejected, "mode %s: %llu NPs", mode,
		    (unsigned long long)(n.np - before.np));
	conf_expect(c, "C7", n.ready == before.ready, "mode %s: %llu readies without NP", mode,
		    (unsigned long long)(n.ready - before.ready));
	conf_expect(c, "C4", (most > 1) == served, "mode %s: at most %u pages were on their way "
		    "at once", mode, most);
	conf_end(&vm);
}

void conf_check_privileged(struct conf *c)
{
	if (c->emulated) {
		conf_unseen(c, "C4", "this KVM emulates privileged code, whose touches do not fault "
			    "as those of a processor do; run it in the lab");
		return;
	}
	touch_privileged(c, "kernel", true);
	touch_privileged(c, "irqoff", false);
}

void conf_check_full(struct conf *c)
{
	const unsigned int room = conf_is_user(c) ? 16 : 64;	/* KVM's is fixed */
	const struct conf_setup setup = { .words = "tasks=80 pages=1", .cpus = 1,
					  .latency_ns = 100 * MS, .max_outstanding = 16 };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	n = conf_job(&vm, "C5", "touch");
	t = expect_answers(&vm, &n, "C5");
	conf_expect(c, "C5", t.most <= room, "%u NPs open at once, room for %u", t.most, room);
	if (conf_is_user(c))
		conf_expect(c, "C5", conf_host(&vm).full, "the host was never full");
	conf_end(&vm);
}

void conf_check_off(struct conf *c)
{
	const struct conf_setup setup = { .words = TASKS_8_1, .cpus = 1, .latency_ns = c->hold_ns };
	struct conf_counts asleep, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_ask(&vm, "@apf area", "apf off");
	if (conf_is_user(c))
		conf_expect(c, "C10 N7 A9", !conf_host(&vm).outstanding,
			    "%u faults outstanding after disabling", conf_host(&vm).outstanding);
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
	conf_expect(c, "L10 I3 N7 A9", n.broadcasts == asleep.broadcasts + 1 && n.ready == asleep.ready,
		    "enabling sent %llu wake-alls and %llu readies",
		    (unsigned long long)(n.broadcasts - asleep.broadcasts),
		    (unsigned long long)(n.ready - asleep.ready));
	conf_end(&vm);
}

/* Enabling once more what is enabled sends a wake-all, here to tasks that do sleep. */
void conf_check_wake_all(struct conf *c)
{
	const struct conf_setup setup = { .words = TASKS_8_1, .cpus = 1, .latency_ns = c->hold_ns };
	struct conf_counts asleep, n;
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_enable_again(&vm);
	n = conf_broadcast(&vm, &asleep);
	conf_expect(c, "C6 L10 N7", n.broadcasts == asleep.broadcasts + 1,
		    "%llu wake-alls", (unsigned long long)(n.broadcasts - asleep.broadcasts));
	conf_expect(c, "C6", n.woken >= asleep.slept, "a wake-all woke %llu of %u waiters",
		    (unsigned long long)(n.woken - asleep.woken), vm.at.tasks);
	conf_finish(&vm, "C6");
	t = conf_tokens(&vm);
	conf_expect(c, "C2", !t.stray && !t.open, "%u readies for tokens that a wake-all had answered, "
		    "%u NPs without answer", t.stray, t.open);
	conf_end(&vm);
}

/* C12: what a VM restored from `dir` tells the tasks that slept when it was saved. */
static void answer_after_restore(struct conf *c, const struct conf_setup *setup, const char *dir,
				 enum apf_delivery delivery, bool in_file)
{
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore_from(c, &vm, setup, dir, delivery);
	conf_finish(&vm, "C12");
	t = conf_tokens(&vm);
	conf_expect(c, "C12", !t.open && !t.stray, "in mode %s %u NPs have no answer, %u have two",
		    vmm_delivery_name(delivery), t.open, t.stray);
	conf_expect(c, "C12", in_file ? !t.all : t.all <= setup->cpus, "in mode %s %u wake-alls",
		    vmm_delivery_name(delivery), t.all);
	conf_end(&vm);
}

/* One CPU polls the console, and at least one is in HLT. */
void conf_check_saved(struct conf *c)
{
	struct conf_setup setup = { .words = TASKS_8_1, .cpus = c->cpus, .latency_ns = c->hold_ns };
	uint32_t mp[8] = { 0 };
	unsigned int halted = 0;
	struct conf_vm vm;
	char dir[256];

	conf_restore(c, &vm, &setup);
	conf_start(&vm);
	conf_save(&vm, dir, mp);
	for (unsigned int i = 0; i < c->cpus; i++)
		halted += mp[i] == KVM_MP_STATE_HALTED;
	conf_expect(c, "C16", halted == c->cpus - 1, "of %u CPUs that idle %u are saved as halted",
		    c->cpus - 1, halted);
	setup.latency_ns = 20 * MS;
	answer_after_restore(c, &setup, dir, c->delivery, conf_is_user(c));
	if (conf_is_user(c))
		answer_after_restore(c, &setup, dir, APF_DELIVERY_SYNC, false);
}

/* Both tasks are after one page: one sleeps, and with the other the CPU is halted. */
void conf_check_halt_saved(struct conf *c)
{
	struct conf_setup setup = { .words = "tasks=2 pages=1", .cpus = 1, .latency_ns = c->hold_ns };
	uint32_t mp = KVM_MP_STATE_HALTED;
	struct conf_vm vm;
	char dir[256];

	conf_restore(c, &vm, &setup);
	conf_say(&vm, "go shared");
	conf_sleep(c->hold_ns / 2);
	if (conf_is_user(c))
		conf_expect(c, "C16", conf_host(&vm).halts, "a repeated fault did not halt");
	conf_save(&vm, dir, &mp);
	conf_expect(c, "C16", mp == KVM_MP_STATE_RUNNABLE, "saved as mp_state %u", mp);
	setup.latency_ns = 20 * MS;
	conf_restore_from(c, &vm, &setup, dir, c->delivery);
	conf_expect(c, "C16 C11", !conf_number(conf_hear(&vm, "@apf done"), "wrong"), "\"%s\"",
		    vm.line);
	conf_end(&vm);
}

/* All vCPUs are taken out of the guest again and again, whatever they are about to do. */
void conf_check_paused(struct conf *c)
{
	const struct conf_setup setup = { .words = "tasks=8 pages=16", .cpus = c->cpus,
					  .latency_ns = 3 * MS };
	struct conf_counts n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf started", "start random");
	for (unsigned int i = 0; i < 60 && !*c->trouble; i++) {
		vmm_pause(vm.vm);
		vmm_resume(vm.vm);
		conf_sleep(MS);
	}
	n = conf_finish(&vm, "C13");
	expect_answers(&vm, &n, "C13");
	conf_end(&vm);
}

/* The last task's page never comes. */
void conf_check_lost(struct conf *c)
{
	const struct conf_setup setup = { .words = TASKS_8_1, .cpus = 1, .latency_ns = 20 * MS,
					  .lost_page = 0, .lost_pages = 1 };
	struct apf_vcpu_stats host;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf started", "start touch");
	conf_wait_end(&vm);
	if (*c->trouble) {
		conf_end(&vm);
		return;
	}
	conf_expect(c, "L6 N10", vmm_ended(vm.vm) == VMM_END_PAGE_LOST && *vmm_end_text(vm.vm),
		    "the VM ended otherwise: %s: %s", vmm_end_name(vmm_ended(vm.vm)),
		    vmm_end_text(vm.vm));
	host = conf_host(&vm);
	if (conf_is_user(c)) {
		conf_expect(c, "N10", host.np == host.ready && !host.broadcasts,
			    "%llu NPs, %llu readies, %llu wake-alls", (unsigned long long)host.np,
			    (unsigned long long)host.ready, (unsigned long long)host.broadcasts);
		conf_expect(c, "L6", host.broadcasts == 1 && !host.outstanding, "%llu wake-alls, "
			    "%u faults outstanding", (unsigned long long)host.broadcasts,
			    host.outstanding);
	}
	conf_end(&vm);
}
