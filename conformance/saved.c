/* SPDX-License-Identifier: MIT */
/* Common rows again: vCPUs that are stopped, snapshots, and a page that is lost. */
#include <linux/kvm.h>

#include "conformance.h"

#define MS		1000000ull
#define IDLE_TRIES	8u

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

/*
 * One CPU polls the console; the others, with all tasks asleep, are in HLT or on their way there.
 * Those that are saved as idle.
 */
static unsigned int save_idle(struct conf *c, const struct conf_setup *setup, char dir[256])
{
	uint32_t mp[8] = { 0 };
	unsigned int idle = 0;
	struct conf_vm vm;

	conf_restore(c, &vm, setup);
	conf_start(&vm);
	conf_save(&vm, dir, mp);
	for (unsigned int i = 0; i < c->cpus; i++)
		idle += mp[i] == conf_idle_state;
	return idle;
}

void conf_check_saved(struct conf *c)
{
	struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = c->cpus, .held = true };
	unsigned int idle = 0;
	char dir[256];

	for (unsigned int i = 0; i < IDLE_TRIES && idle < c->cpus - 1 && !*c->trouble; i++)
		idle = save_idle(c, &setup, dir);
	conf_expect(c, "C16", idle >= c->cpus - 1, "of %u CPUs that idle %u are saved so", c->cpus - 1,
		    idle);
	setup = (struct conf_setup){ .tasks = 8, .pages = 1, .cpus = c->cpus, .latency_ns = 20 * MS };
	answer_after_restore(c, &setup, dir, c->delivery, conf_is_user(c));
	if (conf_is_user(c))
		answer_after_restore(c, &setup, dir, APF_DELIVERY_SYNC, false);
}

/* Both tasks are after one page: one sleeps, and with the other the CPU is halted. */
static void save_halted(struct conf *c, const struct conf_setup *setup, char dir[256])
{
	const uint64_t since = vmm_now_ns();
	uint32_t mp = KVM_MP_STATE_HALTED;
	struct conf_vm vm;

	conf_restore(c, &vm, setup);
	conf_say(&vm, "go shared");
	while ((!conf_in_flight(&vm, false) || (conf_is_user(c) && !conf_host(&vm).halts)) &&
	       conf_still(&vm, since, "repeated fault that halts"))
		conf_sleep(MS);
	conf_sleep(20 * MS);	/* only where it halts unseen */
	conf_save(&vm, dir, &mp);
	conf_expect(c, "C16", mp == KVM_MP_STATE_RUNNABLE, "saved as mp_state %u", mp);
}

/* Again and again, since a timer may have just ended the halt: it then says nothing. */
void conf_check_halt_saved(struct conf *c)
{
	struct conf_setup setup = { .tasks = 2, .pages = 1, .cpus = 1, .held = true };
	struct conf_vm vm;
	char dir[256];

	for (unsigned int i = 0; i < 4 && !*c->trouble; i++)
		save_halted(c, &setup, dir);
	setup.held = false;
	setup.latency_ns = 20 * MS;
	conf_restore_from(c, &vm, &setup, dir, c->delivery);
	conf_expect(c, "C16 C11", !conf_number(conf_hear(&vm, "@apf done"), "wrong"), "\"%s\"",
		    vm.line);
	conf_end(&vm);
}

/* All vCPUs are taken out of the guest again and again, whatever they are about to do. */
void conf_check_paused(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 16, .cpus = c->cpus,
					  .latency_ns = 3 * MS };
	struct conf_counts n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf started", "start random");
	for (unsigned int i = 0; i < 60 && !*c->trouble; i++) {
		c->host->interrupt(&vm);
		conf_sleep(MS);
	}
	n = conf_finish(&vm, "C13");
	conf_answers(&vm, &n, "C13");
	conf_end(&vm);
}

/* The last task's page never comes. */
void conf_check_lost(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .latency_ns = 20 * MS,
					  .last_is_lost = true };
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
