/* SPDX-License-Identifier: MIT */
/* arm64, both revisions: the hypervisor calls, and the checks of rows A. */
#include <string.h>

#include <linux/kvm.h>

#include <abi/apf_abi_arm64.h>

#include "conformance.h"

#define MS		1000000ull
#define NOT_RAM		0x100000000000ull
#define UNKNOWN_OP	0x55u
#define ALWAYS		"always=1"

const uint64_t conf_ram_start = 0x40000000;
const char conf_kernel_file[] = "apf-test-kernel.img";
const uint32_t conf_idle_state = KVM_MP_STATE_RUNNABLE;	/* KVM has no state for WFI */

/* --- calls --- */

static int32_t hvc(struct conf_vm *vm, uint64_t x1, uint64_t x2, uint64_t start, uint64_t size)
{
	const char *line = conf_ask(vm, "@apf hvc", "hvc %x %llx %llx %x %x %x %x", APF_ARM64_FN_APF,
				    (unsigned long long)x1, (unsigned long long)x2, (uint32_t)start,
				    (uint32_t)(start >> 32), (uint32_t)size, (uint32_t)(size >> 32));

	return (int32_t)(uint32_t)conf_number(line, "x0");
}

static int32_t call(struct conf_vm *vm, uint8_t op, uint64_t arg, uint64_t start, uint64_t size)
{
	const uint64_t what = (uint64_t)op << APF_ARM64_OP_SHIFT | arg;

	return hvc(vm, (uint32_t)what, what >> 32, start, size);
}

static int32_t enable(struct conf_vm *vm, uint64_t en)
{
	return call(vm, APF_ARM64_OP_ENABLE, en, 0, 0);
}

static int32_t region(struct conf_vm *vm, uint64_t flags, uint64_t start, uint64_t size)
{
	return call(vm, APF_ARM64_OP_REGION, flags, start, size);
}

static bool is_second(const struct conf *c)
{
	return !strcmp(c->gen->name, "arm2");
}

/* What the guest gave when it enabled: its default words say that it keeps the busy word. */
static uint64_t enabled_with(struct conf_vm *vm)
{
	return conf_number(conf_ask(vm, "@apf area", "area"), "phys") | APF_ARM64_ENABLED |
	       APF_ARM64_BUSY | (is_second(vm->c) ? APF_ARM64_INT : 0);
}

/* Another flag is a new enabling; the tasks do not fault at EL1 meanwhile. */
void conf_enable_again(struct conf_vm *vm)
{
	const uint64_t en = enabled_with(vm) | APF_ARM64_SEND_ALWAYS;
	const uint64_t what = (uint64_t)APF_ARM64_OP_ENABLE << APF_ARM64_OP_SHIFT | en;

	conf_ask_and_release(vm, "@apf hvc", "hvc %x %x %x 0 0 0 0", APF_ARM64_FN_APF, (uint32_t)what,
			     (uint32_t)(what >> 32));
}

void conf_acknowledge(struct conf_vm *vm)
{
	call(vm, APF_ARM64_OP_ACK, 0, 0, 0);
}

static void expect(struct conf_vm *vm, const char *rows, int32_t want, int32_t got,
		   const char *what)
{
	conf_expect(vm->c, rows, got == want, "%s: result %d, not %d", what, got, want);
}

static void boot(struct conf *c, struct conf_vm *vm)
{
	static const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1 };

	conf_boot(c, vm, &setup);
}

static void check_discovery(struct conf *c)
{
	struct conf_vm vm;
	const char *line;

	boot(c, &vm);
	line = conf_ask(&vm, "@apf hvc", "hvc %x", APF_ARM64_FN_FEATURES);
	conf_expect(c, "A1", conf_number(line, "x3") & 1, "feature bit %u is not announced",
		    APF_ARM64_FEATURE_BIT);
	expect(&vm, "A1", APF_ARM64_SUCCESS, call(&vm, APF_ARM64_OP_INFO, 0, 0, 0), "INFO");
	conf_expect(c, "A1", conf_number(vm.line, "x1") >> 16 == APF_ARM64_VERSION >> 16,
		    "INFO: \"%s\"", vm.line);
	conf_expect(c, "A16", (conf_number(vm.line, "x2") & APF_ARM64_OFFERS_INT) &&
		    conf_number(vm.line, "x3") - 16 < 16, "no PPI is offered: \"%s\"", vm.line);
	expect(&vm, "A3", APF_ARM64_NOT_SUPPORTED, call(&vm, UNKNOWN_OP, 0, 0, 0),
	       "an unknown operation");
	expect(&vm, "A13", APF_ARM64_INVALID_PARAMETER,
	       hvc(&vm, 1ull << 32, APF_ARM64_OP_INFO << 24, 0, 0), "upper half of x1");
	expect(&vm, "A13", APF_ARM64_INVALID_PARAMETER,
	       hvc(&vm, 0, 1ull << 32 | APF_ARM64_OP_INFO << 24, 0, 0), "upper half of x2");
	expect(&vm, "A13", APF_ARM64_INVALID_PARAMETER, call(&vm, APF_ARM64_OP_INFO, 0, 1, 0),
	       "an argument that INFO does not take");
	conf_end(&vm);
}

static void check_regions(struct conf_vm *vm)
{
	expect(vm, "A10", APF_ARM64_SUCCESS, region(vm, APF_ARM64_REGION_CLEAR, 0, 0), "clearing");
	expect(vm, "A10", APF_ARM64_INVALID_PARAMETER, region(vm, 0, 0x1000, 0), "an empty region");
	expect(vm, "A10", APF_ARM64_INVALID_PARAMETER, region(vm, 0, ~0ull, 2), "a region too high");
	for (uint64_t i = 0; i < APF_ARM64_REGIONS; i++)
		expect(vm, "A10", APF_ARM64_SUCCESS, region(vm, 0, 0x1000 * i, 0x100), "a region");
	expect(vm, "A10", APF_ARM64_NOT_SUPPORTED, region(vm, 0, 0x9000, 0x100), "one too many");
	expect(vm, "A10", APF_ARM64_SUCCESS, region(vm, APF_ARM64_REGION_CLEAR, 0, 0), "clearing");
}

static void check_enabling(struct conf *c)
{
	struct conf_counts before = { 0 }, n;
	struct conf_vm vm;
	uint64_t en, area;

	boot(c, &vm);
	conf_expect(c, "A9", conf_broadcast(&vm, &before).broadcasts == 1, "enabling sent no wake-all, or two");
	en = enabled_with(&vm);
	area = en & APF_ARM64_ADDR_MASK;
	expect(&vm, "A3", APF_ARM64_NOT_REQUIRED, enable(&vm, en), "enabling as it is");
	expect(&vm, "A2", APF_ARM64_INVALID_PARAMETER, enable(&vm, en | 1u << 4), "reserved flag 4");
	expect(&vm, "A2", APF_ARM64_INVALID_PARAMETER, enable(&vm, en | 1u << 5), "reserved flag 5");
	expect(&vm, "A3", APF_ARM64_NOT_SUPPORTED, enable(&vm, NOT_RAM | (en & APF_ARM64_FLAGS_MASK)),
	       "an area that is not RAM");
	expect(&vm, "A3", APF_ARM64_NOT_REQUIRED, enable(&vm, en), "enabling after refusals");
	expect(&vm, "A3 A10", APF_ARM64_NOT_SUPPORTED, region(&vm, 0, 0x1000, 0x100),
	       "a region while enabled");
	expect(&vm, "A3 A16", is_second(c) ? APF_ARM64_SUCCESS : APF_ARM64_NOT_REQUIRED,
	       call(&vm, APF_ARM64_OP_ACK, 0, 0, 0), "ACK");
	expect(&vm, "A3", APF_ARM64_SUCCESS, enable(&vm, 0), "disabling");
	expect(&vm, "A3", APF_ARM64_NOT_REQUIRED, enable(&vm, 0), "disabling again");
	check_regions(&vm);
	expect(&vm, "A6", APF_ARM64_NOT_SUPPORTED,
	       enable(&vm, area | APF_ARM64_ENABLED | APF_ARM64_SEND_ALWAYS),
	       "send-always without region or busy word");
	before = conf_counts(&vm);
	expect(&vm, "A2 A9", APF_ARM64_SUCCESS, enable(&vm, en), "enabling");
	n = conf_broadcast(&vm, &before);
	conf_expect(c, "A9", n.broadcasts == before.broadcasts + 1, "enabling sent %llu wake-alls",
		    (unsigned long long)(n.broadcasts - before.broadcasts));
	conf_end(&vm);
}

/* --- where no notification may come --- */

/* A guest with send-always is told at EL1, but neither in its region nor while busy. */
static void check_held_off(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .words = ALWAYS, .cpus = 1,
					  .latency_ns = 20 * MS };
	struct conf_counts n;
	struct conf_vm vm;

	if (c->emulated) {
		conf_unseen(c, "A6 A10 A11", "this KVM emulates privileged code");
		return;
	}
	conf_touch_privileged(c, "A11", "busy", ALWAYS, false);
	conf_touch_privileged(c, "A10", "region", ALWAYS, false);
	conf_restore(c, &vm, &setup);
	n = conf_job(&vm, "A6", "kernel");
	conf_answers(&vm, &n, "A6 A10 A11");
	conf_end(&vm);
}

/* First revision, a guest without region and busy word: no ready at EL1, where its console is. */
static void check_el1(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .words = "busy=0 region=0", .cpus = 1,
					  .held = true };
	struct conf_counts asleep, n;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	asleep = conf_start(&vm);
	conf_pages_came(&vm);
	n = conf_counts(&vm);
	conf_expect(c, "A6", n.ready == asleep.ready, "%llu readies at EL1",
		    (unsigned long long)(n.ready - asleep.ready));
	conf_end(&vm);
}

/* Second revision: the token word holds a ready back, and an ACK makes the host look. */
static void check_token_taken(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1, .held = true };
	struct conf_counts asleep;
	struct conf_vm vm;

	conf_restore(c, &vm, &setup);
	conf_ask(&vm, "@apf area", "poke 4 %x", CONF_OLD_TOKEN);
	asleep = conf_start(&vm);
	conf_expect_token_stays(&vm, "A16", &asleep);
	conf_ask(&vm, "@apf area", "poke 4 0");
	conf_acknowledge(&vm);
	conf_finish_told(&vm, "A16", &asleep);
	conf_end(&vm);
}

/* --- tables --- */

static uint32_t cpu_of(uint32_t token)
{
	return token & 0xffff;
}

enum { G_FIRST = 1, G_SECOND = 2, G_BOTH = 3 };

const struct conf_generation conf_generations[] = {
	{ "arm1", APF_ABI_ARM64, 'A', false, "abi=arm1", cpu_of },
	{ "arm2", APF_ABI_ARM64, 'A', false, "abi=arm2", cpu_of },
	{ NULL, 0, 0, false, NULL, NULL },
};

const struct conf_check conf_checks[] = {
	{ "A1 A3 A13 A16", G_BOTH, check_discovery, false },
	{ "A2 A3 A6 A9 A10 A16", G_BOTH, check_enabling, false },
	{ "C1 C2 C8 C11 C15 A4 A5 A7 A8 A12 A17", G_BOTH, conf_check_touch, false },
	{ "C1 C2 C8 C11 C15 A4 A7", G_BOTH, conf_check_cpus, false },
	{ "C1 C2 C3 C7 C8 C11", G_BOTH, conf_check_shared, false },
	{ "C4 C7 C11 A6", G_BOTH, conf_check_privileged, false },
	{ "C1 C2 C5 C8", G_BOTH, conf_check_full, false },
	{ "C10 A9", G_BOTH, conf_check_off, false },
	{ "C2 C6 A9", G_BOTH, conf_check_wake_all, false },
	{ "C12 C16", G_BOTH, conf_check_saved, true },
	{ "C11 C16", G_BOTH, conf_check_halt_saved, true },
	{ "C1 C2 C8 C13", G_BOTH, conf_check_paused, false },
	{ "C4 C7 A6 A10 A11", G_BOTH, check_held_off, false },
	{ "A6", G_BOTH, conf_check_area_taken, false },
	{ "A6", G_FIRST, conf_check_ready_held, false },
	{ "A6", G_FIRST, check_el1, false },
	{ "A16", G_SECOND, check_token_taken, false },
	{ NULL, 0, NULL, false },
};
