/* SPDX-License-Identifier: MIT */
/* Exceptions, interrupts, and what a task has of its stack. */
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

extern char trap_stubs[], msr_read_site[], msr_write_site[], msr_failed[], halt_site[];

static struct gate idt[GATES] __attribute__((aligned(16)));

void trap(struct frame *frame);	/* for x86_entry.S */
uint64_t touch_irqs_on(const uint64_t *word);
uint64_t touch_in_shadow(const uint64_t *word);

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
	const struct table_pointer pointer = { sizeof(cpu->arch.gdt) - 1,
					       (uintptr_t)cpu->arch.gdt };

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
	uint64_t tss = (uintptr_t)&cpu->arch.tss;

	for (int i = 0; i < 3; i++)
		cpu->arch.tss.ist[i] = (uintptr_t)memory_take(PAGE_SIZE, PAGE_SIZE) + PAGE_SIZE;
	cpu->arch.tss.io_map = sizeof(cpu->arch.tss);
	cpu->arch.gdt[SEL_KCODE / 8] = GDT_KCODE;
	cpu->arch.gdt[SEL_KDATA / 8] = GDT_KDATA;
	cpu->arch.gdt[SEL_UDATA / 8] = GDT_UDATA;
	cpu->arch.gdt[SEL_UCODE / 8] = GDT_UCODE;
	cpu->arch.gdt[SEL_TSS / 8] = GDT_TSS | (sizeof(cpu->arch.tss) - 1) |
		      (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	cpu->arch.gdt[SEL_TSS / 8 + 1] = tss >> 32;
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

bool arch_touch(const uint64_t *word, enum touch how, uint64_t *value)
{
	switch (how) {
	case TOUCH_PLAIN:
	case TOUCH_ATOMIC:
		*value = touch_irqs_on(word);
		return true;
	case TOUCH_SHADOW:
		*value = touch_in_shadow(word);
		return true;
	case TOUCH_IRQ_OFF:
		*value = *(const volatile uint64_t *)word;
		return true;
	default:
		return false;
	}
}

/* What context_switch pops: six registers, and where to go on; one more word aligns the stack. */
enum { FIRST_FRAME_WORDS = 8, FIRST_FRAME_RIP = 6 };

uint64_t arch_first_frame(void *stack_end, void (*begin)(void))
{
	uint64_t *frame = (uint64_t *)stack_end - FIRST_FRAME_WORDS;

	frame[FIRST_FRAME_RIP] = (uintptr_t)begin;
	return (uintptr_t)frame;
}

void arch_use_stack(struct cpu *cpu, void *stack_end)
{
	cpu->arch.tss.rsp0 = (uintptr_t)stack_end;
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
		touch_tick(f->rip);
		apf_tick();
		sched_timer();
		break;
	case VECTOR_IPI + IPI_RESCHED:
	case VECTOR_IPI + IPI_CONTROL:
		apic_eoi();
		smp_interrupt(f->vector - VECTOR_IPI);
		break;
	case VECTOR_SPURIOUS:
		break;
	default:
		panic(f);
	}
}

void trap(struct frame *f)
{
	if (f->rip == (uintptr_t)halt_site)
		f->rip++;
	if (f->vector == VECTOR_PF) {
		if (!apf_page_fault(f))
			panic(f);
	} else if (f->vector == VECTOR_SYSCALL) {
		f->rax = system_call((enum syscall)f->rax, f->rdi, f->rsi);
	} else if (f->vector >= 32) {
		interrupt(f);
	} else if (!fix_up(f)) {
		panic(f);
	}
	/* Not those with a stack of their own: they do not get here. */
	sched_trap_end(f->rflags & RFLAGS_IF);
}
