/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <kvm/binding.h>

#include "fake.h"

#define VCPU_FD	1002
#define KICK	SIGUSR1
#define MANY	1000u

struct fake fake;

static bool any_pending(uint64_t among)
{
	uint64_t pending = 0;
	sigset_t set;

	sigpending(&set);
	memcpy(&pending, &set, sizeof(pending));
	return pending & among;
}

/* One thread is all there is. */
int pthread_kill(pthread_t thread, int signal)
{
	fake.signals++;
	return (int)syscall(SYS_tgkill, getpid(), gettid(), signal);
}

/* As after power-on, but in 64-bit user mode with all that an NP wants. */
static void power_on(struct fake *g)
{
	g->regs = (struct kvm_regs){ .rip = RIP, .rflags = 0x202 };
	g->sregs = (struct kvm_sregs){ .cr0 = 0x80050033, .cr3 = GPA(2), .cr4 = 0x20, .efer = 0x500 };
	g->sregs.ss.dpl = g->sregs.cs.dpl = 3;
	g->mp_state = KVM_MP_STATE_RUNNABLE;
	g->cpuid[3].function = 1;
	g->cpuid[4].function = 0x80000001;
	g->cpuid[4].edx = 1u << 29 | 1u << 20;	/* LM, NX */
	g->here[1] = g->here[2] = true;
	g->comes = UINT64_MAX;
}

static void out_of_guest(struct fake *g)
{
	if (g->no_sync_regs)
		return;
	g->run->s.regs.regs = g->regs;
	g->run->s.regs.sregs = g->sregs;
	g->run->s.regs.events = g->events;
}

/* Everything is taken over as KVM does; the vCPU's own thread. */
static int set_events(struct fake *g, const struct kvm_vcpu_events *ev)
{
	if (g->events_refused)
		return -EINVAL;
	g->events = *ev;
	return 0;
}

static void into_guest(struct fake *g)
{
	if (g->run->kvm_dirty_regs & KVM_SYNC_X86_EVENTS)
		set_events(g, &g->run->s.regs.events);
	g->run->kvm_dirty_regs = 0;
	g->regs.rip += g->in_store;
	g->in_store = false;
	if (g->in_read) {
		memcpy(&g->read, g->run->mmio.data, sizeof(g->read));
		g->regs.rip++;
	}
	g->in_read = false;
	if (!g->in_msr)
		return;
	g->in_msr = false;
	g->gps += g->run->msr.error;
	g->read = g->run->msr.data;
	g->regs.rip++;
}

/* The guest is entered; a pending exception comes first, then an interrupt. */
static void take_events(struct fake *g)
{
	if (g->events.exception.pending) {
		assert_int_equal(g->events.exception.nr, 14);
		assert_true(g->events.exception.has_error_code);
		assert_int_equal(g->events.exception.error_code, 0);
		assert_true(g->events.exception_has_payload);
		g->cr2 = g->events.exception_payload;
		g->nps++;
		memset(&g->events.exception, 0, sizeof(g->events.exception));
		g->events.exception_has_payload = 0;
		g->regs.rip += !g->one_task && fake_word(AREA + APF_AREA_REASON) == APF_REASON_NP;
	} else if (g->interrupt && g->regs.rflags & 0x200) {
		g->interrupt = false;
		g->interrupts++;
	}
}

static int trap(struct fake *g, uint64_t page)
{
	siginfo_t si = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AR,
			 .si_addr = g->ram + page * 4096 };

	if (g->unnamed) {	/* as the kernel does if it has no room for the rest */
		g->unnamed--;
		si = (siginfo_t){ .si_signo = SIGBUS, .si_code = SI_USER };
	}
	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &si), 0);
	if (g->kick_at_trap)
		apf_kvm_kick(g->v);
	g->kick_at_trap = false;
	return -EINTR;
}

static int msr_exit(struct fake *g, const struct step *s)
{
	bool write = s->what == DO_WRMSR;

	assert_true(fake_filtered((uint32_t)s->a, write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ));
	g->run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	g->run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
	g->run->msr.index = (uint32_t)s->a;
	g->run->msr.data = s->b;
	g->run->msr.error = 0;
	g->in_msr = true;
	return 0;
}

static int store_exit(struct fake *g, const struct step *s)
{
	g->run->exit_reason = KVM_EXIT_MMIO;
	g->run->mmio.phys_addr = s->a;
	g->run->mmio.len = sizeof(s->b);
	g->run->mmio.is_write = 1;
	memcpy(g->run->mmio.data, &s->b, sizeof(s->b));
	g->in_store = true;
	return 0;
}

/* The page comes before anybody looks. */
static int memory_fault(struct fake *g, uint64_t page)
{
	const uint64_t fields[] = { 0, GPA(page), 4096 };

	g->run->exit_reason = 39;	/* KVM_EXIT_MEMORY_FAULT */
	memcpy(&g->run->padding, fields, sizeof(fields));
	g->here[page] = true;
	return -EFAULT;
}

/* What KVM failed at: the exception that it has ready stays behind, and another vCPU's page comes. */
static int failed(struct fake *g, uint32_t exit_reason, uint8_t vector, uint64_t page)
{
	g->run->exit_reason = exit_reason;
	g->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	g->events.exception.pending = 1;
	g->events.exception.nr = vector;
	g->here[page] = g->meanwhile;
	return 0;
}

/* A write's instruction is through when KVM tells of it, a read's is not. */
static int emulated(struct fake *g, const struct step *s)
{
	uint64_t gpa = GPA(s->a) + 8;

	if (!g->here[s->a] && s->what == DO_FETCH)
		return failed(g, KVM_EXIT_INTERNAL_ERROR, 6, s->a);
	g->regs.rip += s->what == DO_WRITE || g->here[s->a];
	if (g->here[s->a])
		return 1;
	g->run->exit_reason = KVM_EXIT_MMIO;
	g->run->mmio.phys_addr = gpa;
	g->run->mmio.len = sizeof(s->b);
	g->run->mmio.is_write = s->what == DO_WRITE;
	memcpy(g->run->mmio.data, &s->b, sizeof(s->b));
	g->in_read = s->what == DO_READ;
	return 0;
}

/* 1: the guest goes on; else what KVM_RUN returns. */
static int step(struct fake *g, const struct step *s)
{
	switch (s->what) {
	case DO_TOUCH:
		if (!g->here[s->a])
			return trap(g, s->a);
		break;
	case DO_WRMSR:
	case DO_RDMSR:
		return msr_exit(g, s);
	case DO_STORE:
		return store_exit(g, s);
	case DO_EFAULT:
		if (!g->here[s->a])
			return memory_fault(g, s->a);
		break;
	case DO_READ:
	case DO_WRITE:
	case DO_FETCH:
		return emulated(g, s);
	case DO_TRIPLE:
		if (!g->here[s->a])
			return failed(g, KVM_EXIT_SHUTDOWN, 8, s->a);
		break;
	case DO_HLT:
		g->mp_state = KVM_MP_STATE_HALTED;
		break;
	case DO_CALL:
		s->call(g);
		break;
	case DO_EXIT:
		g->run->exit_reason = KVM_EXIT_IO;
		return 0;
	}
	g->regs.rip++;
	return 1;
}

static void let_world_go_on(struct fake *g)
{
	if (!g->world || ++g->turns > MANY)
		fail_msg("the vCPU would never go on");
	g->world(g);
}

static int run(struct fake *g)
{
	int r = 1;

	if (++g->runs > MANY)
		fail_msg("the vCPU goes round in circles");
	into_guest(g);
	while (r > 0) {
		if (g->mp_state == KVM_MP_STATE_HALTED && g->interrupt)
			g->mp_state = KVM_MP_STATE_RUNNABLE;
		if (any_pending(~g->mask) || g->run->immediate_exit || g->handler_ran) {
			g->handler_ran = false;
			r = -EINTR;
		} else if (g->mp_state == KVM_MP_STATE_HALTED) {
			let_world_go_on(g);
		} else {
			take_events(g);
			r = step(g, &g->steps[g->regs.rip - RIP]);
		}
	}
	out_of_guest(g);
	return r;
}

/* A wait outside the guest: what is waited for must come. */
int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	static const struct timespec now;

	uint64_t among;

	memcpy(&among, set, sizeof(among));
	while (!any_pending(among))
		let_world_go_on(&fake);
	return sigtimedwait(set, info, &now);
}

static int capability(const struct fake *g, uint64_t cap)
{
	switch (cap) {
	case KVM_CAP_SYNC_REGS:
		return g->no_sync_regs ? 0 : KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS |
					     KVM_SYNC_X86_EVENTS;
	case KVM_CAP_X86_MSR_FILTER:
		return !g->no_msr_filter;
	case KVM_CAP_ASYNC_PF_INT:
		return !g->no_async_pf_int;
	case 238:			/* KVM_CAP_X86_GUEST_MODE */
		return !g->no_guest_mode;
	}
	return 1;
}

static int set_filter(struct fake *g, const struct kvm_msr_filter *f)
{
	g->filter = *f;
	for (unsigned int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		assert_true(f->ranges[i].nmsrs <= 8);
		if (f->ranges[i].nmsrs)
			g->bitmap[i][0] = f->ranges[i].bitmap[0];
	}
	return 0;
}

bool fake_filtered(uint32_t index, uint32_t access)
{
	for (unsigned int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &fake.filter.ranges[i];

		if (index - r->base < r->nmsrs && r->flags & access)
			return !(fake.bitmap[i][0] & 1u << (index - r->base));
	}
	return false;
}

static int signal_msi(struct fake *g, const struct kvm_msi *msi)
{
	g->msi = *msi;
	if (g->apic_off)
		return 0;
	g->msi_token = fake_word(AREA + APF_AREA_TOKEN);
	g->msis++;
	g->interrupt = true;
	return 1;
}

static uint64_t *msr(struct fake *g, uint32_t index)
{
	if (index == MSR_EFER)
		return &g->efer;
	assert_true(index - 0x4b564d00u < 8);
	return &g->kvm_msr[index - 0x4b564d00u];
}

static int get_cpuid(struct fake *g, struct kvm_cpuid2 *c)
{
	c->nent = FAKE_LEAVES;
	memcpy(c->entries, g->cpuid, sizeof(g->cpuid));
	return 0;
}

/* KVM looks for its own features, wherever they lie. */
static int set_cpuid(struct fake *g, const struct kvm_cpuid2 *c)
{
	assert_int_equal(c->nent, FAKE_LEAVES);
	assert_int_equal(g->runs, 0);
	memcpy(g->cpuid, c->entries, sizeof(g->cpuid));
	if (g->hlt_exits_off)
		g->cpuid[2].eax &= ~(1u << 7);
	return 0;
}

static int vcpu_ioctl(struct fake *g, unsigned long request, void *arg)
{
	struct kvm_msrs *msrs = arg;
	struct kvm_mp_state *mp = arg;

	switch (request) {
	case KVM_RUN:
		return run(g);
	case KVM_SET_SIGNAL_MASK:
		if (g->mask_refused)
			return -EINVAL;
		memcpy(&g->mask, ((struct kvm_signal_mask *)arg)->sigset, sizeof(g->mask));
		return 0;
	case KVM_GET_REGS:
		memcpy(arg, &g->regs, sizeof(g->regs));
		return 0;
	case KVM_GET_SREGS:
		memcpy(arg, &g->sregs, sizeof(g->sregs));
		return 0;
	case KVM_GET_VCPU_EVENTS:
		memcpy(arg, &g->events, sizeof(g->events));
		return 0;
	case KVM_SET_VCPU_EVENTS:
		return set_events(g, arg);
	case KVM_GET_MP_STATE:
		mp->mp_state = g->mp_state;
		return 0;
	case KVM_SET_MP_STATE:
		if (g->no_lapic && mp->mp_state != KVM_MP_STATE_RUNNABLE)
			return -EINVAL;
		g->mp_state = mp->mp_state;
		return 0;
	case KVM_GET_LAPIC:
		return g->no_lapic ? -EINVAL : 0;
	case KVM_GET_CPUID2:
		return get_cpuid(g, arg);
	case KVM_SET_CPUID2:
		return set_cpuid(g, arg);
	case KVM_GET_MSRS:
		if (g->msrs_refused)
			return 0;
		msrs->entries[0].data = *msr(g, msrs->entries[0].index);
		return 1;
	case KVM_SET_MSRS:
		*msr(g, msrs->entries[0].index) = msrs->entries[0].data;
		return 1;
	}
	fail_msg("ioctl 0x%lx of the vCPU", request);
	return -ENOTTY;
}

static int other_ioctl(struct fake *g, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return capability(g, (uintptr_t)arg);
	case KVM_ENABLE_CAP:
		if (((struct kvm_enable_cap *)arg)->cap == KVM_CAP_X86_USER_SPACE_MSR)
			g->msr_exits = ((struct kvm_enable_cap *)arg)->args[0];
		return 0;
	case KVM_X86_SET_MSR_FILTER:
		return set_filter(g, arg);
	case KVM_SIGNAL_MSI:
		return signal_msi(g, arg);
	}
	fail_msg("ioctl 0x%lx of %d", request, fd);
	return -ENOTTY;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = fd == VCPU_FD ? vcpu_ioctl(&fake, request, arg) : other_ioctl(&fake, fd, request, arg);
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

static void on_signal(void *ctx, uint32_t vcpu_id, const siginfo_t *si)
{
	assert_ptr_equal(ctx, &fake);
	assert_int_equal(si->si_signo, SIGUSR2);
	fake.on_signal++;
}

int fake_create(enum apf_abi_id abi, enum apf_delivery delivery)
{
	const uint64_t rom = fake.rom ? fake.rom * 4096ull : sizeof(fake.ram);
	struct apf_kvm_slot slots[] = {
		{ .gpa = FAKE_GPA, .size = rom, .readonly = fake.readonly },
		{ .gpa = FAKE_GPA + rom, .size = sizeof(fake.ram) - rom, .offset = rom,
		  .readonly = true },
	};
	struct apf_kvm_config cfg = { .kvm_fd = KVM_FD, .vm_fd = VM_FD,
				      .mem = (struct apf_mem *)&fake, .slots = slots,
				      .nr_slots = fake.rom ? 2 : 1,
				      .delivery = delivery, .abi = abi, .max_vcpus = 1,
				      .max_outstanding = 8, .kick_signal = KICK,
				      .msr_exits = KVM_MSR_EXIT_REASON_UNKNOWN,
				      .merge_msr_filter = fake.merge_msr_filter };
	int err;

	if (fake.vmm_signals) {
		cfg.on_signal = on_signal;
		cfg.on_signal_ctx = &fake;
		sigemptyset(&cfg.signals);
		sigaddset(&cfg.signals, SIGUSR2);
	}
	err = apf_kvm_create(&cfg, &fake.k);
	if (err)
		return err;
	fake.k->software_walks = fake.software_walks;
	power_on(&fake);
	fake.run = calloc(1, sizeof(*fake.run));
	err = apf_kvm_vcpu_add(fake.k, 0, VCPU_FD, fake.run, &fake.v);
	if (err)
		return err;
	return fake.no_thread ? 0 : apf_kvm_vcpu_attach(fake.v);
}

void fake_init(enum apf_abi_id abi, enum apf_delivery delivery)
{
	assert_int_equal(fake_create(abi, delivery), 0);
}

int fake_destroy(void **state)
{
	static const struct timespec now;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK);
	sigtimedwait(&set, NULL, &now);
	apf_kvm_destroy(fake.k);
	free(fake.run);
	memset(&fake, 0, sizeof(fake));
	return 0;
}

int fake_go_on(void)
{
	return apf_kvm_run(fake.v);
}

int fake_run(const struct step *steps)
{
	fake.steps = steps;
	fake.regs.rip = RIP;
	return fake_go_on();
}

void fake_on(enum apf_abi_id abi)
{
	static const struct step int_steps[] = {
		WRMSR(APF_MSR_INT, VECTOR), WRMSR(APF_MSR_EN, EN_ON), EXIT,
	};
	static const struct step l_steps[] = { WRMSR(APF_MSR_EN, L_EN_ON), EXIT };

	assert_int_equal(fake_run(abi == APF_ABI_X86_2010 ? l_steps : int_steps), 0);
	assert_int_equal(fake.gps, 0);
	fake_set_word(AREA + APF_AREA_REASON, 0);
	fake_set_word(AREA + APF_AREA_TOKEN, 0);
	fake.nps = fake.msis = fake.interrupts = fake.runs = 0;
	fake.interrupt = false;
}

uint32_t fake_word(uint64_t gpa)
{
	uint32_t value;

	memcpy(&value, fake.ram + (gpa - FAKE_GPA), sizeof(value));
	return value;
}

void fake_set_word(uint64_t gpa, uint32_t value)
{
	memcpy(fake.ram + (gpa - FAKE_GPA), &value, sizeof(value));
}
