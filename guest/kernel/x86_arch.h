/* SPDX-License-Identifier: MIT */
/* What the rest of the kernel knows of x86-64, and what x86_*.c have between them. */
#ifndef KERNEL_X86_ARCH_H
#define KERNEL_X86_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "x86_layout.h"

#define VECTOR_PF	14u
#define VECTOR_TIMER	0x40u
#define VECTOR_SPURIOUS	0xffu
#define VECTOR_IPI	0x41u	/* and on, as enum ipi counts */

#define RFLAGS_IF	0x200ull

/* Of memory.c's tables: four levels of 512 entries. */
#define USABLE_END	0xc0000000ull	/* devices from here on */
#define PTE_ADDRESS	0x000ffffffffff000ull
#define PTE_PRESENT	0x01u
#define PTE_WRITE	0x02u
#define PTE_USER	0x04u
#define PTE_TABLE	(PTE_PRESENT | PTE_WRITE | PTE_USER)
#define PTE_USER_PAGE	PTE_TABLE

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* A processor's own. */
struct arch_cpu {
	uint32_t apic_id;
	uint64_t gdt[7];
	struct tss {
		uint32_t reserved;
		uint64_t rsp0, rsp1, rsp2, reserved2, ist[7];
		uint64_t reserved3;
		uint16_t reserved4, io_map;
	} __attribute__((packed)) tss;
};

struct cpu;

/* --- x86_memory.c --- */

/* Finds free memory; nothing of the loader's is needed after. */
void memory_init(const void *multiboot_info);
/* Lets ring 3 at user.c's pages. */
void memory_open_user_image(void);

/* --- x86_acpi.c --- */

/* The local APIC ids of the usable processors, or 0 if there are no tables. */
uint32_t acpi_cpus(uint32_t *apic_id, uint32_t most);
/* Powers off through ACPI, if it says how. */
void acpi_power_off(void);

/* --- x86_apic.c --- */

void apic_init_cpu(void);
uint32_t apic_id(void);
void apic_calibrate(void);		/* once, after clock_init */
void apic_eoi(void);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint32_t page);

/* --- x86_machine.c --- */

void clock_init(void);

/* --- x86_trap.c and x86_entry.S --- */

void trap_init(void);			/* once */
void trap_init_cpu(struct cpu *cpu);
int msr_read(uint32_t msr, uint64_t *value);
int msr_write(uint32_t msr, uint64_t value);

/* --- x86_apf.c --- */

/* False: it was not a notification, or one that cannot be survived. */
bool apf_page_fault(const struct frame *frame);

/* --- small things --- */

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "0"(leaf), "2"(0));
}

static inline void irq_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void irq_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

/* An interrupt that comes before the halt ends it. */
void irq_on_and_halt(void);

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

static inline uintptr_t stack_pointer(void)
{
	uintptr_t rsp;

	__asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
	return rsp;
}

/* TSC */
static inline uint64_t clock_now(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

#endif
