/* SPDX-License-Identifier: MIT */
/* What the rest of the kernel knows of arm64, and what arm64_*.c have between them. */
#ifndef KERNEL_ARM64_ARCH_H
#define KERNEL_ARM64_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arm64_layout.h"

#define INTID_TIMER	27u		/* the virtual one's PPI */

#define PSTATE_I	(1ull << 7)
#define PSTATE_MODE	0xfull		/* 0: EL0 */

/* Of memory.c's tables: four levels of 512 entries. */
#define USABLE_END	0x100000000ull
#define PTE_ADDRESS	0x0000fffffffff000ull
#define PTE_TABLE	0x3ull
/* EL0 may write, nobody executes; normal memory, inner shareable, accessed. */
#define PTE_USER_PAGE	0x0060000000000747ull

struct frame {
	uint64_t x[31], sp, elr, spsr, esr, far;
};

_Static_assert(sizeof(struct frame) == FRAME_SIZE, "frame");
_Static_assert(offsetof(struct frame, sp) == FRAME_SP, "frame");
_Static_assert(offsetof(struct frame, elr) == FRAME_ELR, "frame");
_Static_assert(offsetof(struct frame, far) == FRAME_FAR, "frame");

/* A processor's own. */
struct arch_cpu {
	uint64_t mpidr;			/* its affinity */
	volatile uint32_t *redistributor;
};

struct cpu;

/* --- arm64_dt.c: what the device tree says --- */

#define DT_CPUS		64u
#define DT_BOOTARGS	1024u

struct machine {
	uint64_t mpidr[DT_CPUS];
	uint32_t cpus;
	uint64_t serial;
	bool serial_is_pl011;		/* else ns16550a */
	uint64_t debug_exit;		/* 0: none */
	uint64_t distributor, redistributors, redistributors_size;
	bool psci_by_hvc;
	char bootargs[DT_BOOTARGS];
};

extern struct machine machine;

/* Fills in machine and offers free memory; false if it is no sound tree. */
bool dt_read(const void *tree);

/* --- arm64_gic.c --- */

void gic_init(void);			/* once */
void gic_init_cpu(struct cpu *cpu);
/* This processor takes this PPI, or not. */
void gic_allow(uint32_t intid);
void gic_forbid(uint32_t intid);
uint32_t gic_acknowledge(void);
void gic_eoi(uint32_t intid);
void timer_off(void);

/* --- arm64_entry.S and arm64_trap.c --- */

void trap_init_cpu(void);
void irq_on_and_halt(void);
void hypervisor_call(const uint64_t x[7], uint64_t r[4]);

/* --- arm64_apf.c --- */

/* False: it was not a notification, or one that cannot be survived. */
bool apf_abort(const struct frame *frame);

/* --- small things --- */

#define sysreg_read(name) ({ \
	uint64_t value_; \
	__asm__ volatile("mrs %0, " name : "=r"(value_) : : "memory"); \
	value_; })

#define sysreg_write(name, value) \
	__asm__ volatile("msr " name ", %0" : : "r"((uint64_t)(value)) : "memory")

static inline void irq_off(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

static inline void irq_on(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void cpu_relax(void)
{
	__asm__ volatile("yield" : : : "memory");
}

static inline void instruction_barrier(void)
{
	__asm__ volatile("isb" : : : "memory");
}

static inline void data_barrier(void)
{
	__asm__ volatile("dsb sy" : : : "memory");
}

static inline uintptr_t stack_pointer(void)
{
	uintptr_t sp;

	__asm__ volatile("mov %0, sp" : "=r"(sp));
	return sp;
}

/* The virtual counter. */
static inline uint64_t clock_now(void)
{
	instruction_barrier();
	return sysreg_read("cntvct_el0");
}

#endif
