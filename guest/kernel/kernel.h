/* SPDX-License-Identifier: MIT */
/*
 * The test kernel: a small SMP kernel with tasks in ring 3, made to live on a host
 * with asynchronous page faults and to tell what it saw. One file per subject; the
 * order below is the order of the layers.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apf/guest.h>

#include "layout.h"
#include "user.h"

#define MAX_CPUS	64u
#define MAX_TASKS	4096u

#define VECTOR_PF	14u
#define VECTOR_TIMER	0x40u
#define VECTOR_RESCHED	0x41u
#define VECTOR_CONTROL	0x42u
#define VECTOR_SPURIOUS	0xffu

#define RFLAGS_IF	0x200ull

/* --- serial.c: the console, polled --- */

void put(const char *text);
void put_number(const char *name, uint64_t value);
void put_hex(const char *name, uint64_t value);
/* Polls for a line; writes a heart beat that the monitor can see. */
void read_line(char *line, size_t size);
/* Says what is wrong on the console and ends the machine with a failure. */
void die(const char *what) __attribute__((noreturn));

/* --- machine.c: how it ends, and its clock --- */

enum exit_code { EXIT_OK = 0, EXIT_WRONG = 1, EXIT_PANIC = 2 };

void debug_exit(uint32_t code);		/* port 0xf4; returns if there is no such port */
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));
void clock_init(void);
uint64_t clock_now(void);		/* TSC */
uint64_t clock_ticks(uint64_t us);
uint64_t clock_us(uint64_t ticks);
uint64_t clock_khz(void);
void clock_delay(uint64_t us);

/* --- options.c: the command line --- */

enum misbehaviour { BAD_NONE, BAD_NOACK, BAD_STORM, BAD_GARBAGE };

struct options {
	uint64_t tasks, pages, worker, seed;
	uint64_t cpus;		/* 0: ask ACPI */
	uint64_t vector;	/* of the ready interrupt */
	uint64_t slice_us, tick_us;	/* of the round robin; of a misbehaving guest */
	uint64_t stuck_ms;	/* a misbehaving guest without progress is helped after that */
	uint64_t sleep_us;	/* mode sleep */
	uint64_t always;	/* send-always */
	uint64_t xapic;		/* even if the processor has x2APIC */
	uint64_t automatic;	/* run `mode` at once and exit */
	uint64_t abi;		/* enum apf_guest_abi or ABI_AUTO */
	uint64_t mode;		/* enum mode */
	uint64_t bad;		/* enum misbehaviour */
};

#define ABI_AUTO 0xffu

extern struct options option;

void options_read(const char *cmdline);
const char *abi_name(uint64_t abi);
const char *mode_name(uint64_t mode);
/* The mode of that name, or MODE_COUNT. */
enum mode mode_find(const char *name);

/* --- lib.c --- */

bool str_equal(const char *a, const char *b);
/* Does text start with prefix? Then what follows it, else NULL. */
const char *str_after(const char *text, const char *prefix);
/* Reads a number (base 10 or 16) and moves *at behind it. */
uint64_t str_number(const char **at, uint32_t base);
void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

/* --- memory.c --- */

/* Finds free memory; nothing of the loader's is needed after. */
void memory_init(const void *multiboot_info);
/* Zeroed, never freed, at its physical address; dies when there is no more. */
void *memory_take(uint64_t size, uint64_t align);
/* Lets ring 3 at user.c's pages. */
void memory_open_user_image(void);
/* Maps new pages for ring 3 and returns where. Not zeroed. */
void *memory_map_user(uint64_t pages);
/* Below the one is all that the kernel uses, from the other on what is ring 3's alone. */
uint64_t memory_kernel_end(void);
uint64_t memory_user_start(void);

/* --- acpi.c --- */

/* The local APIC ids of the usable processors, or 0 if there are no tables. */
uint32_t acpi_cpus(uint32_t *apic_id, uint32_t most);
/* Powers off through ACPI, if it says how. */
void acpi_power_off(void);

/* --- sched.c --- */

enum task_state { TASK_READY, TASK_RUNNING, TASK_BLOCKED };
enum task_class { TASK_NORMAL, TASK_BACKGROUND, TASK_IDLE };

struct cpu;

/* At the bottom of its kernel stack. */
struct task {
	uint64_t rsp;			/* while it does not run */
	struct cpu *cpu;		/* while it runs */
	struct task *next;		/* in the ready queue */
	struct task *next_sleeper;	/* in the list of sleepers, by time */
	struct task *next_waiter;	/* in the list of those in SYS_WAIT */
	const uint32_t *wait_word;	/* there; NULL: not in it */
	uint64_t wake_at;		/* TSC; 0: not asleep */
	enum task_state state;
	enum task_class class;
	uint32_t no_preempt;		/* cannot be scheduled away while not 0 (L9) */
	void (*entry)(void *argument);
	void *argument;
};

struct cpu {
	uint32_t id, apic_id;
	bool online;
	bool resched;			/* look for a better task when the trap returns */
	bool kicked;			/* an interrupt for that is on its way */
	struct task *current, *idle;
	uint64_t slice_end;		/* TSC */
	uint64_t timer_at;		/* when the timer will fire; 0: not armed */
	uint64_t random;
	uint64_t counts[APF_GUEST_EV_COUNT];
	uint64_t gdt[7];
	struct tss {
		uint32_t reserved;
		uint64_t rsp0, rsp1, rsp2, reserved2, ist[7];
		uint64_t reserved3;
		uint16_t reserved4, io_map;
	} __attribute__((packed)) tss;
};

extern struct cpu cpus[MAX_CPUS];
extern uint32_t nr_cpus;

struct task *current(void);
struct cpu *this_cpu(void);

/* Makes the running boot stack this CPU's idle task. */
void sched_start_cpu(struct cpu *cpu, struct task *idle);
/* A new task that runs entry(argument) in kernel mode. */
struct task *task_create(enum task_class class, void (*entry)(void *), void *argument);
/* Takes turns with the others for ever; interrupts are off when called. */
void idle_loop(void) __attribute__((noreturn));

/* Interrupts off. Blocking: sched_lock, test, sched_block, test again ..., sched_unlock. */
void sched_lock(void);
void sched_unlock(void);
void sched_block(void);
void sched_wake(struct task *task);	/* locked; nothing if it is not blocked */

/* Interrupts off. */
void sched_timer(void);			/* the timer has fired */
void sched_trap_end(bool may_preempt);
void sched_sleep_until(uint64_t tsc);
/* Sleep while *word is value, until sched_wake_word or the time comes (0: never). */
void sched_wait_word(const uint32_t *word, uint32_t value, uint64_t until);
void sched_wake_word(const uint32_t *word);

/* --- smp.c and apic.c --- */

void apic_init_cpu(void);
uint32_t apic_id(void);
void apic_calibrate(void);		/* once, after clock_init */
void apic_eoi(void);
void apic_send(uint32_t apic_id, uint32_t vector);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint32_t page);
void apic_timer(uint64_t ticks);	/* one interrupt, TSC ticks from now */
void smp_start(void);
/* Ask all online CPUs, this one too, to take a control interrupt. */
void smp_control(void);

/* --- trap.c and entry.S --- */

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

void trap_init(void);			/* once */
void trap_init_cpu(struct cpu *cpu);
void context_switch(uint64_t *save_rsp, uint64_t rsp);
void enter_user(uint64_t rip, uint64_t rsp, uint64_t argument) __attribute__((noreturn));
int msr_read(uint32_t msr, uint64_t *value);
int msr_write(uint32_t msr, uint64_t value);

/* --- apf.c: libapf-guest in this kernel --- */

/* Once, on the boot CPU, when the number of CPUs is known: chooses the generation, enables it. */
void apf_init(void);
enum apf_guest_abi apf_abi(void);
/* The generation that was asked for or announced and that the host denies us, or OFF. */
enum apf_guest_abi apf_refused(void);
/* Another CPU's turn, there, with interrupts off. */
void apf_start_cpu(void);
/* False: it was not a notification, or one that cannot be survived. */
bool apf_page_fault(const struct frame *frame);
void apf_ready_interrupt(void);
void apf_control_interrupt(void);
void apf_tick(void);			/* the misbehaviour that comes with the timer */
/* Misbehave from now on as option.bad says, or stop it. */
void apf_misbehave(bool on);
bool apf_misbehaves(void);
/* What the control interrupt is for, on every CPU. */
void apf_set_enabled(bool enabled);
/* Where this CPU's area is, and what it reads. */
const struct apf_guest_cpu *apf_this_cpu(void);

/* --- events.c: the latest notifications --- */

void events_add(enum apf_guest_event ev, uint32_t cpu, uint32_t token);
/* Prints those that it has not printed yet, as many as fit on a line. */
void events_put(void);

/* --- job.c: commands from the console --- */

void job_main(void *unused);

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

static inline void irq_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void irq_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

/* An interrupt that comes before the halt ends it. */
static inline void irq_on_and_halt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "0"(leaf), "2"(0));
}

#endif
