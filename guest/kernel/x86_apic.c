/* SPDX-License-Identifier: MIT */
/* The local APIC, through MSRs (x2APIC) where the processor has them, else through memory. */
#include "kernel.h"

#define MSR_APIC_BASE	0x1bu
#define BASE_X2APIC	(1ull << 10)
#define BASE_ENABLE	(1ull << 11)
#define BASE_ADDRESS	0xffffff000ull
#define MSR_X2APIC	0x800u
#define CPUID_X2APIC	(1u << 21)	/* leaf 1, ECX */

enum {
	REG_ID = 0x020, REG_TPR = 0x080, REG_EOI = 0x0b0, REG_SPURIOUS = 0x0f0, REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310, REG_LVT_TIMER = 0x320, REG_LVT_LINT0 = 0x350, REG_LVT_LINT1 = 0x360,
	REG_LVT_ERROR = 0x370, REG_TIMER_INITIAL = 0x380, REG_TIMER_NOW = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};

#define SPURIOUS_ENABLE	0x100u
#define LVT_MASKED	0x10000u
#define DIVIDE_BY_1	0xbu
#define ICR_INIT	0x00004500u	/* INIT, assert */
#define ICR_STARTUP	0x00004600u
#define ICR_FIXED	0x00004000u
#define ICR_PENDING	0x00001000u

#define PIC1_MASK	0x21
#define PIC2_MASK	0xa1
#define CALIBRATE_US	5000u
#define CALIBRATIONS	3

static bool use_x2apic;
static volatile uint32_t *registers;
static uint64_t counts_per_tick;	/* of the timer per TSC tick, 32 bits after the point */

static uint32_t read(uint32_t reg)
{
	uint64_t value = 0;

	if (!use_x2apic)
		return registers[reg / 4];
	msr_read(MSR_X2APIC + reg / 16, &value);
	return (uint32_t)value;
}

static void write(uint32_t reg, uint32_t value)
{
	if (use_x2apic)
		msr_write(MSR_X2APIC + reg / 16, value);
	else
		registers[reg / 4] = value;
}

static void send(uint32_t to, uint32_t command)
{
	if (use_x2apic) {
		msr_write(MSR_X2APIC + REG_ICR / 16, (uint64_t)to << 32 | command);
		return;
	}
	while (read(REG_ICR) & ICR_PENDING)
		__builtin_ia32_pause();
	write(REG_ICR_HIGH, to << 24);
	write(REG_ICR, command);
}

void apic_init_cpu(void)
{
	uint64_t base = 0;
	uint32_t r[4];

	cpuid(1, r);
	use_x2apic = (r[2] & CPUID_X2APIC) && !option.xapic;
	msr_read(MSR_APIC_BASE, &base);
	registers = (volatile uint32_t *)(base & BASE_ADDRESS);
	msr_write(MSR_APIC_BASE, base | BASE_ENABLE | (use_x2apic ? BASE_X2APIC : 0));
	outb(PIC1_MASK, 0xff);
	outb(PIC2_MASK, 0xff);
	write(REG_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	write(REG_TPR, 0);
	write(REG_LVT_LINT0, LVT_MASKED);
	write(REG_LVT_LINT1, LVT_MASKED);
	write(REG_LVT_ERROR, LVT_MASKED);
	write(REG_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	if (counts_per_tick)
		write(REG_LVT_TIMER, VECTOR_TIMER);
}

uint32_t apic_id(void)
{
	return use_x2apic ? read(REG_ID) : read(REG_ID) >> 24;
}

static uint64_t measure(void)
{
	uint64_t start = clock_now(), ticks;
	uint32_t left;

	write(REG_TIMER_INITIAL, UINT32_MAX);
	clock_delay(CALIBRATE_US);
	left = read(REG_TIMER_NOW);
	ticks = clock_now() - start;
	write(REG_TIMER_INITIAL, 0);
	return ((uint64_t)(UINT32_MAX - left) << 32) / ticks;
}

/* A measurement that was disturbed is too small, whichever moment it was. */
void apic_calibrate(void)
{
	for (int i = 0; i < CALIBRATIONS; i++) {
		uint64_t measured = measure();

		if (measured > counts_per_tick)
			counts_per_tick = measured;
	}
	write(REG_LVT_TIMER, VECTOR_TIMER);
}

void arch_timer(uint64_t ticks)
{
	uint64_t counts = (uint64_t)((unsigned __int128)ticks * counts_per_tick >> 32);

	if (!counts)
		counts = 1;
	write(REG_TIMER_INITIAL, counts > UINT32_MAX ? UINT32_MAX : (uint32_t)counts);
}

void apic_eoi(void)
{
	write(REG_EOI, 0);
}

void arch_send(const struct cpu *cpu, enum ipi ipi)
{
	send(cpu->arch.apic_id, ICR_FIXED | (VECTOR_IPI + ipi));
}

void apic_send_init(uint32_t to)
{
	send(to, ICR_INIT);
}

void apic_send_startup(uint32_t to, uint32_t page)
{
	send(to, ICR_STARTUP | page);
}
