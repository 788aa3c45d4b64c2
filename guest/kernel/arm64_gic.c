/* SPDX-License-Identifier: MIT */
/* GICv3 and the virtual timer. */
#include "kernel.h"

#define ICC_PMR		"s3_0_c4_c6_0"
#define ICC_SGI1R	"s3_0_c12_c11_5"
#define ICC_IAR1	"s3_0_c12_c12_0"
#define ICC_EOIR1	"s3_0_c12_c12_1"
#define ICC_BPR1	"s3_0_c12_c12_3"
#define ICC_CTLR	"s3_0_c12_c12_4"
#define ICC_SRE		"s3_0_c12_c12_5"
#define ICC_IGRPEN1	"s3_0_c12_c12_7"

enum { GICD_CTLR = 0x0 };
#define GICD_ENABLE	0x12u		/* affinity routing, group 1 */
#define GICD_BUSY	(1u << 31)

/* Of a redistributor: two frames of 64 KiB, two more if it knows virtual LPIs. */
enum { GICR_TYPER = 0x8, GICR_WAKER = 0x14 };
enum { GICR_GROUP = 0x10080, GICR_SET_ENABLE = 0x10100, GICR_CLEAR_ENABLE = 0x10180,
       GICR_PRIORITY = 0x10400 };
#define TYPER_VLPIS	(1ull << 1)
#define TYPER_LAST	(1ull << 4)
#define WAKER_SLEEP	(1u << 1)
#define WAKER_ASLEEP	(1u << 2)
#define FRAMES		0x20000ull
#define FRAMES_VLPIS	0x40000ull

#define PRIORITIES	0xa0a0a0a0u
#define TIMER_ON	1u
#define AFFINITY	0xff00ffffffull	/* of MPIDR_EL1 */

/* SGIs are the kinds of enum ipi. */
#define ALLOWED		(1u << INTID_TIMER | 1u << IPI_RESCHED | 1u << IPI_CONTROL)

static volatile uint32_t *reg(volatile uint32_t *base, uint32_t offset)
{
	return base + offset / sizeof(*base);
}

void gic_init(void)
{
	volatile uint32_t *distributor = (volatile uint32_t *)machine.distributor;

	*reg(distributor, GICD_CTLR) = GICD_ENABLE;
	while (*reg(distributor, GICD_CTLR) & GICD_BUSY)
		cpu_relax();
}

static volatile uint32_t *find_redistributor(uint64_t mpidr)
{
	uint32_t affinity = (uint32_t)(mpidr & 0xffffff) | (uint32_t)(mpidr >> 32 & 0xff) << 24;
	uint64_t at = 0, typer = 0;

	while (!(typer & TYPER_LAST) && at + FRAMES <= machine.redistributors_size) {
		uintptr_t base = machine.redistributors + at;

		typer = *(volatile uint64_t *)(base + GICR_TYPER);
		if (typer >> 32 == affinity)
			return (volatile uint32_t *)base;
		at += typer & TYPER_VLPIS ? FRAMES_VLPIS : FRAMES;
	}
	die("no redistributor");
}

void gic_init_cpu(struct cpu *cpu)
{
	volatile uint32_t *r;

	cpu->arch.mpidr = sysreg_read("mpidr_el1") & AFFINITY;
	r = find_redistributor(cpu->arch.mpidr);
	cpu->arch.redistributor = r;
	*reg(r, GICR_WAKER) &= ~WAKER_SLEEP;
	while (*reg(r, GICR_WAKER) & WAKER_ASLEEP)
		cpu_relax();
	*reg(r, GICR_CLEAR_ENABLE) = UINT32_MAX;
	*reg(r, GICR_GROUP) = UINT32_MAX;
	for (uint32_t i = 0; i < 32; i += 4)
		*reg(r, GICR_PRIORITY + i) = PRIORITIES;
	*reg(r, GICR_SET_ENABLE) = ALLOWED;
	sysreg_write(ICC_SRE, sysreg_read(ICC_SRE) | 1);
	instruction_barrier();
	sysreg_write(ICC_PMR, 0xff);
	sysreg_write(ICC_BPR1, 0);
	sysreg_write(ICC_CTLR, 0);
	sysreg_write(ICC_IGRPEN1, 1);
	timer_off();
}

void gic_allow(uint32_t intid)
{
	*reg(this_cpu()->arch.redistributor, GICR_SET_ENABLE) = 1u << intid;
}

void gic_forbid(uint32_t intid)
{
	*reg(this_cpu()->arch.redistributor, GICR_CLEAR_ENABLE) = 1u << intid;
}

uint32_t gic_acknowledge(void)
{
	uint32_t intid = (uint32_t)sysreg_read(ICC_IAR1);

	data_barrier();
	return intid;
}

void gic_eoi(uint32_t intid)
{
	sysreg_write(ICC_EOIR1, intid);
	instruction_barrier();
}

void arch_send(const struct cpu *cpu, enum ipi ipi)
{
	uint64_t to = cpu->arch.mpidr;

	data_barrier();
	sysreg_write(ICC_SGI1R, (to >> 32 & 0xff) << 48 | (to >> 4 & 0xf) << 44 |
		     (to >> 16 & 0xff) << 32 | (uint64_t)ipi << 24 | (to >> 8 & 0xff) << 16 |
		     1ull << (to & 0xf));
	instruction_barrier();
}

void arch_timer(uint64_t ticks)
{
	sysreg_write("cntv_cval_el0", clock_now() + ticks);
	sysreg_write("cntv_ctl_el0", TIMER_ON);
	instruction_barrier();
}

void timer_off(void)
{
	sysreg_write("cntv_ctl_el0", 0);
	instruction_barrier();
}
