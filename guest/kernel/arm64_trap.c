/* SPDX-License-Identifier: MIT */
/* Exceptions, interrupts, and what a task has of its stack. */
#include "kernel.h"

/* The kind of a vector, and who was interrupted. */
enum { KIND = 3, KIND_SYNCHRONOUS = 0, KIND_IRQ = 1 };

enum { CLASS_SVC = 0x15, CLASS_ABORT_EL0 = 0x24, CLASS_ABORT_EL1 = 0x25 };
#define ESR_CLASS(esr)	((esr) >> 26 & 0x3f)
#define ESR_STATUS(esr)	((esr) & 0x3f)
#define STATUS_EXTERNAL	0x10u

#define INTID_NONE	1020u		/* and above */
#define X_NUMBER	8		/* of a system call */

extern char vectors[], halt_site[];

void trap(struct frame *frame, uint32_t vector);	/* for arm64_entry.S */
uint64_t touch_irqs_on(const uint64_t *word);
uint64_t touch_in_region(const uint64_t *word);

void trap_init_cpu(void)
{
	sysreg_write("vbar_el1", (uintptr_t)vectors);
	instruction_barrier();
}

static void panic(const struct frame *f, uint32_t vector) __attribute__((noreturn));

static void panic(const struct frame *f, uint32_t vector)
{
	put_number("@apf panic vector=", vector);
	put_hex(" esr=0x", f->esr);
	put_hex(" pc=0x", f->elr);
	put_hex(" far=0x", f->far);
	put_number(" user=", !(f->spsr & PSTATE_MODE));
	put("\n");
	die(ESR_STATUS(f->esr) == STATUS_EXTERNAL ? "external abort" : "panic");
}

/* The word is this processor's: the task may not move. */
static uint64_t touch_while_busy(const uint64_t *word)
{
	uint64_t value;

	current()->no_preempt++;
	apf_guest_arm64_busy_begin(&apf_guest);
	value = touch_irqs_on(word);
	apf_guest_arm64_busy_end(&apf_guest);
	current()->no_preempt--;
	return value;
}

bool arch_touch(const uint64_t *word, enum touch how, uint64_t *value)
{
	switch (how) {
	case TOUCH_PLAIN:
	case TOUCH_ATOMIC:
		*value = touch_irqs_on(word);
		return true;
	case TOUCH_IRQ_OFF:
		*value = *(const volatile uint64_t *)word;
		return true;
	case TOUCH_BUSY:
		*value = touch_while_busy(word);
		return true;
	case TOUCH_REGION:
		*value = touch_in_region(word);
		return true;
	default:
		return false;
	}
}

/* What context_switch pops: x19 to x30, the last of them where to go on; and not up to the end. */
enum { FIRST_FRAME_WORDS = 14, FIRST_FRAME_X30 = 11 };

uint64_t arch_first_frame(void *stack_end, void (*begin)(void))
{
	uint64_t *frame = (uint64_t *)stack_end - FIRST_FRAME_WORDS;

	frame[FIRST_FRAME_X30] = (uintptr_t)begin;
	return (uintptr_t)frame;
}

/* It is where SP_EL1 was left when the task entered user mode. */
void arch_use_stack(struct cpu *cpu, void *stack_end)
{
}

static void synchronous(struct frame *f, uint32_t vector)
{
	switch (ESR_CLASS(f->esr)) {
	case CLASS_SVC:
		f->x[0] = system_call((enum syscall)f->x[X_NUMBER], f->x[0], f->x[1]);
		break;
	case CLASS_ABORT_EL0:
	case CLASS_ABORT_EL1:
		if (!apf_abort(f))
			panic(f, vector);
		break;
	default:
		panic(f, vector);
	}
}

static void interrupt(const struct frame *f, uint32_t vector)
{
	uint32_t intid = gic_acknowledge();

	if (intid >= INTID_NONE)
		return;
	switch (intid) {
	case INTID_TIMER:
		timer_off();
		gic_eoi(intid);
		touch_tick(f->elr);
		apf_tick();
		sched_timer();
		break;
	case IPI_RESCHED:
	case IPI_CONTROL:
		gic_eoi(intid);
		smp_interrupt((enum ipi)intid);
		break;
	default:
		if (intid != apf_guest.intid)
			panic(f, vector);
		apf_ready_interrupt();
	}
}

void trap(struct frame *f, uint32_t vector)
{
	if (f->elr == (uintptr_t)halt_site)
		f->elr += 4;
	switch (vector & KIND) {
	case KIND_SYNCHRONOUS:
		synchronous(f, vector);
		break;
	case KIND_IRQ:
		interrupt(f, vector);
		break;
	default:
		panic(f, vector);
	}
	sched_trap_end(!(f->spsr & PSTATE_I));
}
