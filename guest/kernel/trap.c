/* SPDX-License-Identifier: MIT */
/* Exceptions, interrupts and system calls. */
#include "kernel.h"

#define GATES		256
#define GATE_INTERRUPT	0x8e00u
#define GATE_USER	0x6000u
#define STUB_SIZE	16

enum { VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_GP = 13, VECTOR_MC = 18 };

#define GDT_KCODE	0x00af9b000000ffffull
#define GDT_KDATA	0x00cf93000000ffffull
#define GDT_UDATA	0x00cff3000000ffffull
#define GDT_UCODE	0x00affb000000ffffull
#define GDT_TSS		0x0000890000000000ull

struct gate {
	uint16_t offset0, selector, flags, offset1;
	uint32_t offset2, reserved;
};

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern char trap_stubs[], msr_read_site[], msr_write_site[], msr_failed[];

static struct gate idt[GATES] __attribute__((aligned(16)));

void trap(struct frame *frame);	/* for entry.S */

/* Those that may come while the stack is not to be trusted have one of their own. */
static uint16_t stack_of(uint32_t vector)
{
	switch (vector) {
	case VECTOR_DF:
		return 1;
	case VECTOR_NMI:
		return 2;
	case VECTOR_MC:
		return 3;
	default:
		return 0;
	}
}

void trap_init(void)
{
	for (uint32_t i = 0; i < GATES; i++) {
		uint64_t stub = (uintptr_t)trap_stubs + i * STUB_SIZE;

		idt[i] = (struct gate){
			.offset0 = (uint16_t)stub, .offset1 = (uint16_t)(stub >> 16),
			.offset2 = (uint32_t)(stub >> 32), .selector = SEL_KCODE,
			.flags = GATE_INTERRUPT | stack_of(i),
		};
	}
	idt[VECTOR_SYSCALL].flags |= GATE_USER;
}

static void load_gdt(struct cpu *cpu)
{
	const struct table_pointer pointer = { sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt };

	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmov %2, %%ds\n\t"
			 "mov %2, %%es\n\t"
			 "mov %2, %%ss"
			 : : "m"(pointer), "i"(SEL_KCODE), "r"(SEL_KDATA) : "rax", "memory");
}

void trap_init_cpu(struct cpu *cpu)
{
	const struct table_pointer idt_pointer = { sizeof(idt) - 1, (uintptr_t)idt };
	uint64_t tss = (uintptr_t)&cpu->tss;

	for (int i = 0; i < 3; i++)
		cpu->tss.ist[i] = (uintptr_t)memory_take(PAGE_SIZE, PAGE_SIZE) + PAGE_SIZE;
	cpu->tss.io_map = sizeof(cpu->tss);
	cpu->gdt[SEL_KCODE / 8] = GDT_KCODE;
	cpu->gdt[SEL_KDATA / 8] = GDT_KDATA;
	cpu->gdt[SEL_UDATA / 8] = GDT_UDATA;
	cpu->gdt[SEL_UCODE / 8] = GDT_UCODE;
	cpu->gdt[SEL_TSS / 8] = GDT_TSS | (sizeof(cpu->tss) - 1) | (tss & 0xffffff) << 16 |
		      (tss >> 24 & 0xff) << 56;
	cpu->gdt[SEL_TSS / 8 + 1] = tss >> 32;
	load_gdt(cpu);
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	__asm__ volatile("lidt %0" : : "m"(idt_pointer));
}

static void panic(const struct frame *f) __attribute__((noreturn));

static void panic(const struct frame *f)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	put_number("@apf panic vector=", f->vector);
	put_hex(" error=0x", f->error);
	put_hex(" rip=0x", f->rip);
	put_hex(" cr2=0x", cr2);
	put_number(" user=", (f->cs & 3) != 0);
	put("\n");
	die(f->vector == VECTOR_MC ? "machine check" : "panic");
}

/* Of an interrupt shadow one instruction is covered: the one behind sti. */
static uint64_t touch(const uint64_t *word, enum touch how)
{
	uint64_t value = 0;

	current()->no_preempt += how == TOUCH_ATOMIC;
	switch (how) {
	case TOUCH_PLAIN:
	case TOUCH_ATOMIC:
		__asm__ volatile("sti; nop; mov %1, %0; cli" : "=r"(value) : "m"(*word));
		break;
	case TOUCH_SHADOW:
		__asm__ volatile("sti; mov %1, %0; cli" : "=r"(value) : "m"(*word));
		break;
	case TOUCH_IRQ_OFF:
		__asm__ volatile("mov %1, %0" : "=r"(value) : "m"(*word));
		break;
	}
	current()->no_preempt -= how == TOUCH_ATOMIC;
	return value;
}

static uint64_t system_call(const struct frame *f)
{
	switch ((enum syscall)f->rax) {
	case SYS_WAIT:
		sched_wait_word((const uint32_t *)f->rdi, (uint32_t)f->rsi, 0);
		return 0;
	case SYS_WAKE:
		sched_wake_word((const uint32_t *)f->rdi);
		return 0;
	case SYS_SLEEP:
		sched_sleep_until(clock_now() + clock_ticks(f->rdi));
		return 0;
	case SYS_TOUCH:
		return touch((const uint64_t *)f->rdi, (enum touch)f->rsi);
	}
	die("unknown system call");
}

/* An MSR that raised #GP: the access returns -1 instead. */
static bool fix_up(struct frame *f)
{
	if (f->vector != VECTOR_GP || (f->rip != (uintptr_t)msr_read_site &&
				       f->rip != (uintptr_t)msr_write_site))
		return false;
	f->rip = (uintptr_t)msr_failed;
	return true;
}

static void interrupt(struct frame *f)
{
	if (f->vector == option.vector) {
		apf_ready_interrupt();
		return;
	}
	switch (f->vector) {
	case VECTOR_TIMER:
		apic_eoi();
		apf_tick();
		sched_timer();
		break;
	case VECTOR_RESCHED:
		apic_eoi();
		this_cpu()->resched = true;
		break;
	case VECTOR_CONTROL:
		apic_eoi();
		apf_control_interrupt();
		break;
	case VECTOR_SPURIOUS:
		break;
	default:
		panic(f);
	}
}

void trap(struct frame *f)
{
	if (f->vector == VECTOR_PF) {
		if (!apf_page_fault(f))
			panic(f);
	} else if (f->vector == VECTOR_SYSCALL) {
		f->rax = system_call(f);
	} else if (f->vector >= 32) {
		interrupt(f);
	} else if (!fix_up(f)) {
		panic(f);
	}
	/* Not those with a stack of their own: they do not get here. */
	sched_trap_end(f->rflags & RFLAGS_IF);
}
