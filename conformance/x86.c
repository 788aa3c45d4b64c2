/* SPDX-License-Identifier: MIT */
/* The x86 generations: their registers, and the checks of rows L, I and N. */
#include <linux/kvm.h>

#include <abi/apf_abi_x86.h>

#include "x86.h"

#define NOT_RAM		0x100000000000ull
#define SETTLE_NS	20000000u

const uint64_t conf_ram_start;
const char conf_kernel_file[] = "apf-test-kernel.elf";
const uint32_t conf_idle_state = KVM_MP_STATE_HALTED;

/* --- registers --- */

uint64_t read_msr(struct conf_vm *vm, uint32_t msr, bool *gp)
{
	const char *line = conf_ask(vm, "@apf msr", "rdmsr %x", msr);

	if (gp)
		*gp = conf_number(line, "gp");
	return conf_number(line, "value");
}

bool write_msr(struct conf_vm *vm, uint32_t msr, uint64_t value)
{
	return !conf_number(conf_ask(vm, "@apf msr", "wrmsr %x %llx", msr,
				     (unsigned long long)value), "gp");
}

static void expect_refused(struct conf_vm *vm, const char *rows, uint32_t msr, uint64_t value)
{
	const uint64_t before = read_msr(vm, msr, NULL);

	conf_expect(vm->c, rows, !write_msr(vm, msr, value), "writing 0x%llx to MSR 0x%x raised no #GP",
		    (unsigned long long)value, msr);
	conf_expect(vm->c, rows, read_msr(vm, msr, NULL) == before,
		    "a write to MSR 0x%x that raised #GP changed it", msr);
}

void expect_taken(struct conf_vm *vm, const char *rows, uint32_t msr, uint64_t value)
{
	conf_expect(vm->c, rows, write_msr(vm, msr, value), "writing 0x%llx to MSR 0x%x raised #GP",
		    (unsigned long long)value, msr);
}

static void expect_kept(struct conf_vm *vm, const char *rows, uint32_t msr, uint64_t value)
{
	expect_taken(vm, rows, msr, value);
	conf_expect(vm->c, rows, read_msr(vm, msr, NULL) == value, "MSR 0x%x reads 0x%llx, not the "
		    "0x%llx that was written", msr, (unsigned long long)conf_number(vm->line, "value"),
		    (unsigned long long)value);
}

static void expect_absent(struct conf_vm *vm, const char *rows, uint32_t msr)
{
	bool gp;

	read_msr(vm, msr, &gp);
	conf_expect(vm->c, rows, gp && !write_msr(vm, msr, 0), "MSR 0x%x exists", msr);
}

static void expect_cpuid(struct conf_vm *vm, const char *rows, uint32_t want)
{
	const uint32_t all = APF_CPUID_ASYNC_PF | APF_CPUID_VMEXIT | APF_CPUID_INT;
	const uint32_t eax = (uint32_t)conf_number(conf_ask(vm, "@apf cpuid", "cpuid 40000001"),
						   "eax");

	conf_expect(vm->c, rows, (eax & all) == want, "CPUID announces 0x%x, not 0x%x", eax & all,
		    want);
}

void conf_enable_again(struct conf_vm *vm)
{
	const uint64_t en = read_msr(vm, APF_MSR_EN, NULL);

	conf_ask_and_release(vm, "@apf msr", "wrmsr %x %llx", APF_MSR_EN, (unsigned long long)en);
}

void conf_acknowledge(struct conf_vm *vm)
{
	write_msr(vm, APF_MSR_ACK, APF_ACK_LOOK);
}

/* What all generations refuse alike; leaves EN as it was. */
static uint64_t check_en(struct conf_vm *vm, const char *rows)
{
	const uint64_t en = read_msr(vm, APF_MSR_EN, NULL);

	expect_refused(vm, rows, APF_MSR_EN, en | 1u << 4);
	expect_refused(vm, rows, APF_MSR_EN, en | 1u << 5);
	expect_refused(vm, rows, APF_MSR_EN, en | APF_EN_VMEXIT);
	expect_kept(vm, rows, APF_MSR_EN, en | APF_EN_SEND_ALWAYS);
	expect_kept(vm, rows, APF_MSR_EN, en);
	return en;
}

static void boot(struct conf *c, struct conf_vm *vm)
{
	static const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1 };

	conf_boot(c, vm, &setup);
}

static const struct conf_counts none;

static void check_registers_2010(struct conf *c)
{
	struct conf_vm vm;
	uint64_t en;

	boot(c, &vm);
	conf_expect(c, "L10", conf_broadcast(&vm, &none).broadcasts == 1, "enabling sent no wake-all, or two");
	en = check_en(&vm, "L1");
	expect_refused(&vm, "L1", APF_MSR_EN, en | APF_EN_INT);
	expect_refused(&vm, "L1", APF_MSR_EN, NOT_RAM | APF_EN_ENABLED);
	expect_absent(&vm, "L1", APF_MSR_INT);
	expect_absent(&vm, "L1", APF_MSR_ACK);
	conf_end(&vm);
}

/* I3: the wake-all of enabling waits for PF2, and each write that sets its bit 8 sends one. */
static void check_pf2_order(struct conf_vm *vm, uint64_t en, uint64_t pf2)
{
	struct conf_counts before, n;

	write_msr(vm, APF_MSR_EN, 0);
	write_msr(vm, APF_MSR_INT, 0);
	before = conf_counts(vm);
	write_msr(vm, APF_MSR_EN, en);
	n = conf_counts(vm);
	conf_expect(vm->c, "I3", n.broadcasts == before.broadcasts, "a wake-all before PF2 is on");
	write_msr(vm, APF_MSR_INT, pf2);
	n = conf_broadcast(vm, &before);
	conf_expect(vm->c, "I3", n.broadcasts == before.broadcasts + 1, "%llu wake-alls when PF2 was "
		    "switched on", (unsigned long long)(n.broadcasts - before.broadcasts));
	write_msr(vm, APF_MSR_INT, pf2);
	n = conf_broadcast(vm, &n);
	conf_expect(vm->c, "I3", n.broadcasts == before.broadcasts + 2, "%llu wake-alls when PF2 was "
		    "written again", (unsigned long long)(n.broadcasts - before.broadcasts - 1));
}

static void check_registers_rfc(struct conf *c)
{
	struct conf_vm vm;
	uint64_t en, pf2;

	boot(c, &vm);
	expect_cpuid(&vm, "I8", APF_CPUID_ASYNC_PF);
	en = check_en(&vm, "I1");
	conf_expect(c, "I1 I8", en & APF_EN_INT, "EN reads 0x%llx: bit 3 is not taken",
		    (unsigned long long)en);
	expect_refused(&vm, "I1", APF_MSR_EN, NOT_RAM | APF_EN_ENABLED);
	pf2 = read_msr(&vm, APF_MSR_INT, NULL);
	expect_kept(&vm, "I2", APF_MSR_INT, 0xf1);	/* no interrupt that nobody takes */
	expect_kept(&vm, "I2", APF_MSR_INT, pf2);
	expect_refused(&vm, "I2", APF_MSR_INT, pf2 | 1u << 9);
	expect_refused(&vm, "I2", APF_MSR_INT, pf2 | 1ull << 63);
	expect_absent(&vm, "I2", APF_MSR_ACK);
	check_pf2_order(&vm, en, pf2);
	conf_end(&vm);
}

/* N7: with the token word taken, enabling twice leaves one wake-all in the queue. */
static void check_one_wake_all(struct conf_vm *vm, uint64_t en)
{
	struct conf_counts before = conf_counts(vm), n;

	conf_ask(vm, "@apf area", "poke 4 %x", CONF_OLD_TOKEN);
	write_msr(vm, APF_MSR_EN, en);
	write_msr(vm, APF_MSR_EN, en);
	n = conf_counts(vm);
	conf_expect(vm->c, "N4 N7", n.broadcasts == before.broadcasts,
		    "a wake-all while the token word is taken");
	conf_ask(vm, "@apf area", "poke 4 0");
	conf_acknowledge(vm);
	conf_broadcast(vm, &before);
	conf_sleep(SETTLE_NS);
	n = conf_counts(vm);
	conf_expect(vm->c, "N7", n.broadcasts == before.broadcasts + 1, "%llu wake-alls for enabling "
		    "twice", (unsigned long long)(n.broadcasts - before.broadcasts));
}

static void check_registers_int(struct conf *c)
{
	struct conf_vm vm;
	uint64_t en, vector;

	boot(c, &vm);
	expect_cpuid(&vm, "N5", APF_CPUID_ASYNC_PF | APF_CPUID_INT);
	conf_expect(c, "N7", conf_broadcast(&vm, &none).broadcasts == 1, "enabling sent no wake-all, or two");
	en = check_en(&vm, "N5");
	vector = read_msr(&vm, APF_MSR_INT, NULL);
	expect_refused(&vm, "N1", APF_MSR_INT, vector | 1u << 8);
	expect_refused(&vm, "N1", APF_MSR_INT, vector | 1ull << 63);
	expect_kept(&vm, "N1", APF_MSR_INT, 5);
	expect_kept(&vm, "N7", APF_MSR_INT, vector);
	expect_taken(&vm, "N2", APF_MSR_EN, en & ~APF_EN_INT);
	expect_kept(&vm, "N7", APF_MSR_EN, en);
	conf_expect(c, "N4", !read_msr(&vm, APF_MSR_ACK, NULL) && !conf_number(vm.line, "gp"),
		    "ACK reads \"%s\"", vm.line);
	expect_taken(&vm, "N4", APF_MSR_ACK, 0);
	expect_taken(&vm, "N4", APF_MSR_ACK, ~0ull);
	check_one_wake_all(&vm, en);
	expect_refused(&vm, "N7", APF_MSR_EN, NOT_RAM | (en & 0x3f));
	conf_end(&vm);
}

/* --- tables --- */

static uint32_t cpu_of(uint32_t token)
{
	return token & 0xfff;
}

enum { G_2010 = 1, G_RFC = 2, G_INT = 4, G_ALL = 7 };

const struct conf_generation conf_generations[] = {
	{ "2010", APF_ABI_X86_2010, 'L', false, "", cpu_of },
	{ "rfc", APF_ABI_X86_RFC, 'I', false, "", cpu_of },
	{ "int", APF_ABI_X86_INT, 'N', true, "", cpu_of },
	{ NULL, 0, 0, false, NULL, NULL },
};

const struct conf_check conf_checks[] = {
	{ "L1 L10", G_2010, check_registers_2010, false },
	{ "I1 I2 I3 I8", G_RFC, check_registers_rfc, false },
	{ "N1 N2 N4 N5 N7", G_INT, check_registers_int, false },
	{ "C1 C2 C8 C11 C15 L2 L3 L4 L5 L11 I5", G_ALL, conf_check_touch, false },
	{ "C1 C2 C8 C11 L3", G_ALL, conf_check_cpus, false },
	{ "C1 C2 C3 C7 C8 C11", G_ALL, conf_check_shared, false },
	{ "C4 C7 L4", G_ALL, conf_check_privileged, false },
	{ "C1 C2 C5 C8", G_ALL, conf_check_full, false },
	{ "C10 L7 L10 I3 N7", G_ALL, conf_check_off, false },
	{ "C2 C6 L10 N7", G_ALL, conf_check_wake_all, false },
	{ "C12 C16", G_ALL, conf_check_saved, true },
	{ "C11 C16", G_ALL, conf_check_halt_saved, true },
	{ "C1 C2 C8 C13", G_ALL, conf_check_paused, false },
	{ "L6 N10", G_2010 | G_INT, conf_check_lost, true },
	{ "I3", G_RFC, conf_check_pf2_off, false },
	{ "I4", G_RFC, conf_check_area_taken, false },
	{ "I4", G_RFC, conf_check_ready_held, false },
	{ "I6", G_RFC, conf_check_as_2010, false },
	{ "N2", G_INT, conf_check_without_bit3, false },
	{ "N3 N4", G_INT, conf_check_words_taken, false },
	{ "N6", G_INT, conf_check_apic_off, false },
	{ "C10 N1", G_INT, conf_check_low_vector, false },
	{ NULL, 0, NULL, false },
};
