/* SPDX-License-Identifier: MIT */
/*
 * How the machine ends, and its clock: the TSC, whose speed KVM tells; elsewhere it is
 * measured against the PIT.
 */
#include "kernel.h"

enum { DEBUG_EXIT = 0xf4, KEYBOARD = 0x64, KEYBOARD_RESET = 0xfe };
enum { PIT_CHANNEL_2 = 0x42, PIT_COMMAND = 0x43, PIT_GATE = 0x61 };
enum { PIT_ONE_SHOT_2 = 0xb0, GATE_ON = 0x01, GATE_OUTPUT = 0x20 };

#define PIT_HZ		1193182u
#define MEASURE_MS	5u
#define MEASURES	10
#define POLLS_MOST	10000000u
#define POWER_OFF_US	1000000u

#define CPUID_HYPERVISOR	(1u << 31)	/* leaf 1, ECX */
#define HYPERVISOR_LEAF		0x40000000u
#define SIGNATURE_KVM		0x4b4d564bu	/* EBX of that leaf */
#define FEATURE_CLOCK		(1u << 3)	/* EAX of the next one */
#define MSR_KVM_CLOCK		0x4b564d01u
#define CLOCK_ENABLE		1u

/* What KVM writes when the MSR is: ns = (ticks << shift) * multiplier >> 32. */
struct kvm_clock {
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t multiplier;
	int8_t shift;
	uint8_t flags, pad2[2];
};

void debug_exit(uint32_t code)
{
	__asm__ volatile("outl %0, %1" : : "a"(code), "Nd"((uint16_t)DEBUG_EXIT));
}

static void halt_for_ever(void) __attribute__((noreturn));

static void halt_for_ever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	irq_off();
	acpi_power_off();
	/* It may take a moment, and the next best way must not come first. */
	clock_delay(POWER_OFF_US);
	debug_exit(EXIT_OK);
	halt_for_ever();
}

void reset(void)
{
	irq_off();
	outb(KEYBOARD, KEYBOARD_RESET);
	halt_for_ever();
}

/* TSC ticks of one PIT run, or 0 if there is no PIT. */
static uint64_t measure(void)
{
	const uint32_t count = PIT_HZ / 1000 * MEASURE_MS;
	uint64_t start;

	outb(PIT_GATE, GATE_ON);
	outb(PIT_COMMAND, PIT_ONE_SHOT_2);
	outb(PIT_CHANNEL_2, count & 0xff);
	outb(PIT_CHANNEL_2, count >> 8);
	start = clock_now();
	for (uint32_t polls = 0; !(inb(PIT_GATE) & GATE_OUTPUT); polls++)
		if (polls == POLLS_MOST)
			return 0;
	return clock_now() - start;
}

/* The shortest run is the one that was disturbed least. */
static uint64_t measured_khz(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < MEASURES; i++) {
		uint64_t ticks = measure();

		if (ticks < best)
			best = ticks;
	}
	return best / MEASURE_MS;
}

static bool has_kvm_clock(void)
{
	uint32_t r[4];

	cpuid(1, r);
	if (!(r[2] & CPUID_HYPERVISOR))
		return false;
	cpuid(HYPERVISOR_LEAF, r);
	if (r[1] != SIGNATURE_KVM)
		return false;
	cpuid(HYPERVISOR_LEAF + 1, r);
	return r[0] & FEATURE_CLOCK;
}

static uint64_t kvm_khz(void)
{
	static volatile struct kvm_clock clock __attribute__((aligned(64)));
	uint64_t khz;

	if (!has_kvm_clock() || msr_write(MSR_KVM_CLOCK, (uintptr_t)&clock | CLOCK_ENABLE))
		return 0;
	msr_write(MSR_KVM_CLOCK, 0);
	if (!clock.multiplier)
		return 0;
	khz = (1000000ull << 32) / clock.multiplier;
	return clock.shift < 0 ? khz << -clock.shift : khz >> clock.shift;
}

void clock_init(void)
{
	uint64_t khz = kvm_khz();

	clock_set_khz(khz ? khz : measured_khz());
}
