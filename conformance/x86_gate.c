/* SPDX-License-Identifier: MIT */
/* The x86 checks of what holds a notification back, and what lets it go: rows I and N. */
#include <abi/apf_abi_x86.h>

#include "x86.h"

#define MS		1000000ull
#define APIC_SPURIOUS	0x80fu		/* x2APIC */
#define APIC_ENABLED	0x100u
#define APIC_LVT_TIMER	0x832u
/* Retries of a blocked interrupt within WINDOW_MS that are no spinning. */
#define RETRIES_MAX	40u
#define WINDOW_MS	50u
#define WINDOWS		10u

/* --- 2020-RFC --- */

static struct conf_setup quick(void)
{
	return (struct conf_setup){ .tasks = 8, .pages = 1, .cpus = 1, .latency_ns = 20 * MS };
}

static struct conf_setup held(struct conf *c)
{
	return (struct conf_setup){ .tasks = 8, .pages = 1, .cpus = 1, .held = true };
}

void conf_check_pf2_off(struct conf *c)
{
	const struct conf_setup setup = quick();
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	expect_taken(&vm, "I3", APF_MSR_INT, 0);
	conf_silence(&vm, "I3", "PF2 is off");
	conf_expect(c, "I3", !conf_number(conf_ask(&vm, "@apf area", "area"), "reason"),
		    "PF2 is off, and the area reads \"%s\"", vm.line);
	conf_end(&vm);
}

void conf_check_as_2010(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .words = "abi=2010", .cpus = 1,
					  .latency_ns = 20 * MS };
	struct conf_counts n;
	struct conf_tokens t;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_expect(c, "I6", !(read_msr(&vm, APF_MSR_EN, NULL) & APF_EN_INT), "EN bit 3 is set");
	n = conf_job(&vm, "I6", "touch");
	t = conf_tokens(&vm);
	conf_expect(c, "I5 I6", conf_number(conf_ask(&vm, "@apf area", "area"), "token"),
		    "no notification has left its token in the area: \"%s\"", vm.line);
	conf_expect(c, "I6", t.np && t.np == t.ready && !t.stray && !n.rejected,
		    "%u NPs, %u readies, %u stray, %llu rejected", t.np, t.ready, t.stray,
		    (unsigned long long)n.rejected);
	conf_end(&vm);
}

/* --- INT --- */

void conf_check_without_bit3(struct conf *c)
{
	const struct conf_setup setup = quick();
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	expect_taken(&vm, "N2", APF_MSR_EN, read_msr(&vm, APF_MSR_EN, NULL) & ~APF_EN_INT);
	conf_silence(&vm, "N2", "EN bit 3 is off");
	conf_end(&vm);
}

/* An old reason word and a ready that the guest has not taken, while NPs and pages come. */
void conf_check_words_taken(struct conf *c)
{
	const struct conf_setup setup = held(c);
	struct conf_counts asleep, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf area", "poke 0 %u", APF_REASON_READY);
	conf_ask(&vm, "@apf area", "poke 4 %x", CONF_OLD_TOKEN);
	asleep = conf_start(&vm);
	conf_expect(c, "N3", asleep.np == vm.at.tasks, "%llu NPs for %u tasks",
		    (unsigned long long)asleep.np, vm.at.tasks);
	conf_expect_token_stays(&vm, "N4", &asleep);
	conf_ask(&vm, "@apf area", "poke 4 0");
	write_msr(&vm, APF_MSR_ACK, ~0ull << 1);
	n = conf_counts(&vm);
	conf_expect(c, "N4", n.ready == asleep.ready, "an ACK without bit 0 made the host look");
	write_msr(&vm, APF_MSR_ACK, ~0ull);
	conf_finish_told(&vm, "N3 N4", &asleep);
	conf_end(&vm);
}

/*
 * The fewest retries in a window of time. The host may try at every exit, so the guest makes none
 * for a while; when this begins and ends is not known, and one quiet window is enough.
 */
static uint64_t quietest(struct conf_vm *vm)
{
	uint64_t least = ~0ull, before, n;

	conf_say(vm, "delay %u", WINDOWS * WINDOW_MS * 1000);
	for (unsigned int i = 0; i < WINDOWS; i++) {
		before = conf_blocked(vm);
		conf_sleep(WINDOW_MS * MS);
		n = conf_blocked(vm) - before;
		least = n < least ? n : least;
	}
	conf_hear(vm, "@apf delayed");
	return least;
}

/* Pages come while nobody takes their interrupt; the host must not spin. */
static void wait_blocked(struct conf_vm *vm, const struct conf_counts *asleep, const char *rows)
{
	struct conf_counts n;
	uint64_t blocked;

	conf_pages_came(vm);
	blocked = quietest(vm);
	n = conf_counts(vm);
	conf_expect(vm->c, rows, n.ready == asleep->ready, "%llu readies came all the same",
		    (unsigned long long)(n.ready - asleep->ready));
	conf_expect(vm->c, rows, blocked <= RETRIES_MAX, "the host tried %llu times in %u ms",
		    (unsigned long long)blocked, WINDOW_MS);
}

void conf_check_apic_off(struct conf *c)
{
	const struct conf_setup setup = held(c);
	struct conf_counts asleep;
	uint64_t spurious, timer;
	struct conf_vm vm;
	bool gp;

	conf_restore(c, &vm, &setup);
	spurious = read_msr(&vm, APIC_SPURIOUS, &gp);
	timer = read_msr(&vm, APIC_LVT_TIMER, NULL);
	conf_expect(c, "N6", !gp, "this machine has no x2APIC");
	asleep = conf_start(&vm);
	write_msr(&vm, APIC_SPURIOUS, spurious & ~(uint64_t)APIC_ENABLED);
	wait_blocked(&vm, &asleep, "N6");
	conf_expect(c, "N6", !conf_number(conf_ask(&vm, "@apf area", "area"), "token"),
		    "a token that cannot be told stays in the area: \"%s\"", vm.line);
	write_msr(&vm, APIC_SPURIOUS, spurious);
	write_msr(&vm, APIC_LVT_TIMER, timer);
	conf_finish_told(&vm, "N6", &asleep);
	conf_end(&vm);
}

/* The token of the ready that is dropped stays in the area; disabling takes it back (C10). */
void conf_check_low_vector(struct conf *c)
{
	const struct conf_setup setup = held(c);
	struct conf_counts asleep;
	uint64_t en, vector;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	en = read_msr(&vm, APF_MSR_EN, NULL);
	vector = read_msr(&vm, APF_MSR_INT, NULL);
	expect_taken(&vm, "N1", APF_MSR_INT, 5);
	asleep = conf_start(&vm);
	wait_blocked(&vm, &asleep, "N1");
	write_msr(&vm, APF_MSR_EN, 0);
	conf_expect(c, "C10", !conf_number(conf_ask(&vm, "@apf area", "area"), "token"),
		    "disabling leaves a token in the area: \"%s\"", vm.line);
	conf_ask(&vm, "@apf area", "poke 4 0");
	write_msr(&vm, APF_MSR_INT, vector);
	write_msr(&vm, APF_MSR_EN, en);
	conf_finish(&vm, "N1");
	conf_end(&vm);
}
