/* SPDX-License-Identifier: MIT */
/*
 * Running one vCPU, turning traps into verdicts, carrying verdicts out.
 *
 * Order at a trap, so that no page is ever waited for in vain: ask for the page,
 * let the engine note who waits, then look again whether the page has come. The
 * pager marks a page resident before it tells the vCPUs, so either it finds the
 * note, or the second look finds the page.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"
#include "kvm/compat.h"

int lose(struct apf_kvm_vcpu *v, uint64_t gpa, int err)
{
	v->lost_gpa = gpa;
	if (err == -EHWPOISON)
		return apf_error_set(err, "vcpu %u: host memory error at guest-physical 0x%llx",
				     v->id, (unsigned long long)gpa);
	return apf_error_set(err, "vcpu %u needs guest-physical 0x%llx: %s", v->id,
			     (unsigned long long)gpa, apf_mem_lost_text(v->k->cfg.mem));
}

/* C4 (b): nothing is served until the page is here. -EINTR: the VMM wants us out. */
static int wait_for(struct apf_kvm_vcpu *v, uint64_t page)
{
	sigset_t kick;
	int r;

	sigemptyset(&kick);
	sigaddset(&kick, v->k->cfg.kick_signal);
	while ((r = want(v->k, page)) == 0) {
		sigwaitinfo(&kick, NULL);
		if (atomic_exchange(&v->kicked, false))
			return -EINTR;
	}
	return r > 0 ? 0 : lose(v, page_to_gpa(v->k, page), r);
}

/* C4 (a): halted in KVM, so that interrupts wake it and are served. */
static int halt_for(struct apf_kvm_vcpu *v, uint64_t page, uint64_t pc)
{
	struct kvm_mp_state mp = { .mp_state = arch_halted };

	if (v->k->cfg.halt == APF_HALT_WAIT)
		return wait_for(v, page);
	if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_SET_MP_STATE: %s", v->id, strerror(errno));
	v->halt_page = page;
	v->halt_pc = pc;
	return 0;
}

bool halted_by_us(struct apf_kvm_vcpu *v, uint32_t mp_state)
{
	uint64_t pc;

	return v->halt_page != NO_PAGE && mp_state == arch_halted && !arch_pc(v, &pc) &&
	       pc == v->halt_pc;
}

static int end_halt(struct apf_kvm_vcpu *v)
{
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	if (halted_by_us(v, mp.mp_state)) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
			return -errno;
	}
	v->halt_page = NO_PAGE;
	return 0;
}

int wake(struct apf_kvm_vcpu *v)
{
	int err = end_halt(v);

	if (err)
		return apf_error_set(err, "vcpu %u: end of halt: %s", v->id, strerror(-err));
	return 1;
}

/* Let the engine decide and make what it decided so; the page is on its way. */
static int decide(struct apf_kvm_vcpu *v, uint64_t page, uint64_t gpa, struct apf_decision *d,
		  uint64_t *pc)
{
	struct apf_fault f = { 0 };
	int r, err = arch_fault(v, &f, pc);

	if (err)
		return err;
	f.gfn = gpa >> APF_PAGE_SHIFT;
	pthread_mutex_lock(&v->lock);
	apf_vcpu_fault(v->engine, &f, d);
	if (d->verdict == APF_INJECT && inject(v, d->token)) {
		act_on(v, apf_vcpu_undo(v->engine, d->token));
		d->verdict = APF_WAIT;
	}
	r = want(v->k, page);
	act_on(v, r ? page_over(v, f.gfn, r) : 0);
	pthread_mutex_unlock(&v->lock);
	return 0;
}

static int trap_on_page(struct apf_kvm_vcpu *v, uint64_t page)
{
	uint64_t gpa = page_to_gpa(v->k, page), pc;
	struct apf_decision d;
	int r = want(v->k, page);

	if (r < 0)
		return lose(v, gpa, r);
	if (r > 0) {
		atomic_fetch_add(&v->raced, 1);
		if (page != v->raced_page)
			v->races = 0;
		v->raced_page = page;
		return ++v->races > RACES_BEFORE_ERROR ? lose(v, gpa, -EHWPOISON) : 0;
	}
	v->raced_page = NO_PAGE;
	r = decide(v, page, gpa, &d, &pc);
	if (r)
		return r;
	if (d.verdict == APF_HALT)
		return halt_for(v, page, pc);
	return d.verdict == APF_WAIT ? wait_for(v, page) : 0;
}

/* KVM_RUN was interrupted: by the trap, by a kick, or by a signal of somebody else's. */
static int interrupted(struct apf_kvm_vcpu *v)
{
	static const struct timespec now;
	siginfo_t si;
	uint64_t page;

	if (sigtimedwait(&v->signals, &si, &now) != SIGBUS)
		return atomic_exchange(&v->kicked, false) ? -EINTR : 0;
	page = apf_mem_page_of(v->k->cfg.mem, si.si_addr);
	if (si.si_code != BUS_MCEERR_AR || page == NO_PAGE)
		return apf_error_set(-EHWPOISON, "vcpu %u: SIGBUS code %d at %p, outside guest RAM",
				     v->id, si.si_code, si.si_addr);
	atomic_fetch_add(&v->traps, 1);
	return trap_on_page(v, page);
}

/* What KVM's own access to a page ended in, where the kernel says which page it was. */
static int memory_fault(struct apf_kvm_vcpu *v, int err)
{
	struct compat_memory_fault mf;
	uint64_t page;

	if (v->run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return apf_error_set(err, "vcpu %u: KVM_RUN: %s", v->id, strerror(-err));
	memcpy(&mf, &v->run->padding, sizeof(mf));
	page = gpa_to_page(v->k, mf.gpa & -(uint64_t)apf_mem_page_size(v->k->cfg.mem));
	if (page == NO_PAGE || apf_mem_resident(v->k->cfg.mem, page))
		return apf_error_set(err, "vcpu %u: memory fault at guest-physical 0x%llx", v->id,
				     (unsigned long long)mf.gpa);
	return trap_on_page(v, page);
}

/*
 * A ready that is an exception goes out only after a run that was interrupted, when
 * nothing of the guest's last instruction is half done (L5). 1, or negative errno.
 */
static int offer_ready(struct apf_kvm_vcpu *v)
{
	struct apf_fault at = { 0 };
	uint64_t pc;
	int err;

	if (!atomic_load(&v->due) && !atomic_load(&v->later))
		return 1;
	err = arch_fault(v, &at, &pc);
	if (err)
		return err;
	pthread_mutex_lock(&v->lock);
	poll_engine(v, &at);
	pthread_mutex_unlock(&v->lock);
	v->looked = true;
	return 1;
}

/*
 * Before the guest runs on: the halt whose page has come, the ready that could not go
 * out. One that is due interrupts the run before it reaches the guest.
 */
static int before_run(struct apf_kvm_vcpu *v)
{
	if (v->halt_page != NO_PAGE && want(v->k, v->halt_page) != 0) {
		int r = wake(v);

		if (r < 0)
			return r;
	}
	if (atomic_load_explicit(&v->later, memory_order_relaxed) && !v->looked) {
		pthread_mutex_lock(&v->lock);
		poll_engine(v, NULL);
		pthread_mutex_unlock(&v->lock);
	}
	if (atomic_load_explicit(&v->due, memory_order_relaxed))
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	v->looked = false;
	return 0;
}

int apf_kvm_run(struct apf_kvm_vcpu *v)
{
	int err, r = 1;

	while (r > 0) {
		r = before_run(v);
		if (r)
			break;
		err = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
		v->injected = false;
		if (!err)
			r = arch_exit(v);
		else if (err == -EINTR || err == -EAGAIN)
			r = interrupted(v) ?: offer_ready(v);
		else
			r = memory_fault(v, err) ?: 1;
	}
	return r;
}
