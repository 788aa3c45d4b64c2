/* SPDX-License-Identifier: MIT */
/*
 * Running one vCPU: traps become verdicts, verdicts are carried out, waits end.
 *
 * Order at a trap, so that no page is ever waited for in vain: ask for the page, let the
 * engine note who waits, then look again whether the page has come (apf_link_fault). All
 * waiting is done in sleep_outside: whatever the vCPU waits for, a kick ends it.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"
#include "kvm/compat.h"

/* How long to stand back when the pager's queue is full; it is emptied at every turn. */
#define QUEUE_FULL_NS 100000

int apf_run_lost(struct apf_kvm_vcpu *v, uint64_t gpa, int err)
{
	v->lost_gpa = gpa;
	if (err == -EHWPOISON)
		return apf_error_set(err, "vcpu %u: host memory error at guest-physical 0x%llx",
				     v->id, (unsigned long long)gpa);
	return apf_error_set(err, "vcpu %u needs guest-physical 0x%llx: %s", v->id,
			     (unsigned long long)gpa, apf_mem_lost_text(v->k->cfg.mem));
}

/* The VMM's own signal, or the kick signal: from apf_kvm_kick, or from the engine's side? */
static int took_signal(struct apf_kvm_vcpu *v, int signal, const siginfo_t *si)
{
	const struct apf_kvm_config *cfg = &v->k->cfg;

	if (signal == cfg->kick_signal)
		return atomic_fetch_and(&v->asked, ~ASK_OUT) & ASK_OUT ? -EINTR : GO_ON;
	cfg->on_signal(cfg->on_signal_ctx, v->id, si);
	return -EINTR;
}

/* Until a signal comes, or for so long. GO_ON: look again; -EINTR: the caller is wanted. */
static int sleep_outside(struct apf_kvm_vcpu *v, const struct timespec *limit)
{
	siginfo_t si;
	int signal = limit ? sigtimedwait(&v->wakeups, &si, limit) : sigwaitinfo(&v->wakeups, &si);

	if (signal > 0)
		return took_signal(v, signal, &si);
	return errno == EAGAIN ? GO_ON : -EINTR;	/* a handler of the VMM's has run */
}

/* Ask for a page until the queue takes it: 1 here, 0 on its way, -EIO lost, or -EINTR. */
static int ask_for(struct apf_kvm_vcpu *v, struct ram_page page)
{
	const struct timespec limit = { .tv_nsec = QUEUE_FULL_NS };
	int r, err;

	while ((r = apf_page_want(v->k, page)) == -EAGAIN) {
		err = sleep_outside(v, &limit);
		if (err)
			return err;
	}
	return r;
}

/* What ask_for said at the end of a wait, as an answer. */
static int waited(struct apf_kvm_vcpu *v, struct ram_page page, int r)
{
	if (r == -EINTR)
		return r;
	return r >= 0 ? GO_ON : apf_run_lost(v, apf_page_gpa(v->k, page), r);
}

/*
 * Outside the guest until the page is here. The engine's note of it brings the signal, once: a
 * page that came and was given back before this look has used it up, and is a new fault.
 */
static int stand_at(struct apf_kvm_vcpu *v, struct ram_page page)
{
	int r, err;

	while ((r = ask_for(v, page)) == 0 && atomic_load(&v->noted)) {
		err = sleep_outside(v, NULL);
		if (err)
			return err;
	}
	return waited(v, page, r);
}

/* C4 (b): nothing is served until the page is here. */
static int wait_for(struct apf_kvm_vcpu *v, struct ram_page page)
{
	int r;

	apf_doing_step(v, WAITS);
	r = stand_at(v, page);
	apf_doing_step(v, RUNS);
	return r;
}

/* C4 (a): halted in KVM, so that interrupts wake it and are served. */
static int halt_for(struct apf_kvm_vcpu *v, struct ram_page page, uint64_t pc)
{
	struct kvm_mp_state mp = { .mp_state = apf_arch_halted };

	if (!v->may_halt)
		return wait_for(v, page);
	if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_SET_MP_STATE: %s", v->id, strerror(errno));
	v->halt_page = page;
	v->halt_pc = pc;
	apf_doing_step(v, HALTED);
	return GO_ON;
}

bool apf_run_in_our_halt(struct apf_kvm_vcpu *v, uint32_t mp_state)
{
	uint64_t pc;

	return v->doing == HALTED && mp_state == apf_arch_halted && !apf_arch_pc(v, &pc) &&
	       pc == v->halt_pc;
}

int apf_run_end_halt(struct apf_kvm_vcpu *v)
{
	struct kvm_mp_state mp;
	int err = ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0 ? -errno : 0;

	if (!err && apf_run_in_our_halt(v, mp.mp_state)) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		err = ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0 ? -errno : 0;
	}
	if (err)
		return apf_error_set(err, "vcpu %u: end of halt: %s", v->id, strerror(-err));
	apf_doing_step(v, RUNS);
	return GO_ON;
}

/* One whose page the books call resident: it came between the trap and our look, or broke. */
static int raced(struct apf_kvm_vcpu *v, struct ram_page page)
{
	atomic_fetch_add(&v->raced, 1);
	if (page.nr != v->raced_page.nr)
		v->races = 0;
	v->raced_page = page;
	if (++v->races <= RACES_BEFORE_ERROR)
		return GO_ON;
	return apf_run_lost(v, apf_page_gpa(v->k, page), -EHWPOISON);
}

/* The guest's access to a page has trapped. */
static int fault_on(struct apf_kvm_vcpu *v, struct ram_page page)
{
	struct apf_fault f = { 0 };
	struct apf_decision d;
	uint64_t pc;
	int r = ask_for(v, page);

	if (r == -EINTR)
		return r;
	if (r < 0)
		return apf_run_lost(v, apf_page_gpa(v->k, page), r);
	if (r > 0)
		return raced(v, page);
	v->raced_page = NO_PAGE;
	r = apf_arch_fault(v, &f, &pc);
	if (r)
		return r;
	apf_link_fault(v, page, &f, &d);
	if (d.verdict == APF_HALT)
		return halt_for(v, page, pc);
	return d.verdict == APF_WAIT ? wait_for(v, page) : GO_ON;
}

/* KVM needs a page for an access that is half done: the verdict can only be to wait. */
static int need_page(struct apf_kvm_vcpu *v, struct ram_page page)
{
	struct apf_fault f = { .by_kvm = true };
	struct apf_decision d;
	int r, err;

	while ((r = ask_for(v, page)) == 0) {
		v->fetched++;
		apf_link_fault(v, page, &f, &d);
		err = stand_at(v, page);
		if (err)
			return err;
	}
	return waited(v, page, r);
}

int apf_run_need(struct apf_kvm_vcpu *v, uint64_t gpa, uint64_t len)
{
	uint64_t last = (gpa + len - 1) >> APF_PAGE_SHIFT;

	for (struct gfn gfn = { gpa >> APF_PAGE_SHIFT }; gfn.nr <= last; gfn.nr++) {
		struct ram_page page = apf_page_of_gfn(v->k, gfn);
		int r = is_page(page) ? need_page(v, page) : GO_ON;

		if (r)
			return r;
	}
	return GO_ON;
}

/*
 * The kernel had no room to say where (the user's signals that are pending have a limit): the
 * access traps again.
 */
static int trapped_somewhere(struct apf_kvm_vcpu *v)
{
	if (++v->unnamed > RACES_BEFORE_ERROR)
		return apf_error_set(-ENOBUFS, "vcpu %u: SIGBUS without an address, %u times in a row: "
				     "RLIMIT_SIGPENDING is used up", v->id, v->unnamed);
	sched_yield();
	return GO_ON;
}

static int trapped(struct apf_kvm_vcpu *v, const siginfo_t *si)
{
	struct ram_page page = { apf_mem_page_of(v->k->cfg.mem, si->si_addr) };

	if (si->si_code == SI_USER && !si->si_pid)
		return trapped_somewhere(v);
	v->unnamed = 0;
	if (si->si_code != BUS_MCEERR_AR || !is_page(page))
		return apf_error_set(-EHWPOISON, "vcpu %u: SIGBUS code %d at %p, outside guest RAM",
				     v->id, si->si_code, si->si_addr);
	atomic_fetch_add(&v->traps, 1);
	if (v->doing == HALTED)			/* it has run since */
		apf_doing_step(v, RUNS);
	return fault_on(v, page);
}

/*
 * KVM_RUN was interrupted: by the trap, by a kick or another signal that was let in. With
 * none of them it was run->immediate_exit, or a signal whose handler has run; -EAGAIN is
 * KVM's own way to say that a vCPU has been started.
 */
static int interrupted(struct apf_kvm_vcpu *v, int err)
{
	static const struct timespec now;
	siginfo_t si;
	int signal = sigtimedwait(&v->signals, &si, &now);

	if (signal == SIGBUS)
		return trapped(v, &si);
	if (signal > 0)
		return took_signal(v, signal, &si);
	return err == -EAGAIN ? GO_ON : err;
}

/* What KVM's own access to a page ended in, where the kernel says which page it was. */
static int memory_fault(struct apf_kvm_vcpu *v, int err)
{
	struct compat_memory_fault mf;
	struct ram_page page;

	if (v->run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return apf_error_set(err, "vcpu %u: KVM_RUN: %s", v->id, strerror(-err));
	memcpy(&mf, &v->run->padding, sizeof(mf));
	page = apf_page_at(v->k, mf.gpa & -(uint64_t)apf_mem_page_size(v->k->cfg.mem));
	if (!is_page(page) || err != -EFAULT)
		return apf_error_set(err, "vcpu %u: memory fault at guest-physical 0x%llx", v->id,
				     (unsigned long long)mf.gpa);
	if (v->doing == HALTED)
		apf_doing_step(v, RUNS);
	return fault_on(v, page);
}

/* What stands before the next entry: the start, or an exit that is not dealt with yet. */
static int go_on_with(struct apf_kvm_vcpu *v)
{
	int r;

	if (v->doing != STARTS && v->doing != EXITS)
		return GO_ON;
	r = v->doing == STARTS ? apf_arch_start(v) : apf_arch_exit(v);
	if (r >= 0)
		apf_doing_step(v, RUNS);
	return r;
}

static int exited(struct apf_kvm_vcpu *v)
{
	if (apf_arch_exit_ends_halt(v->run) && v->doing == HALTED)
		return apf_run_end_halt(v);
	if (v->doing == HALTED)			/* it has run since */
		apf_doing_step(v, RUNS);
	v->fetched = 0;
	apf_doing_step(v, EXITS);
	return go_on_with(v);
}

/*
 * Readies that wait for the vCPU. One that is an exception goes out only after a run that
 * was interrupted, when nothing of the guest's last instruction is half done (L5); else it
 * interrupts the next run before it reaches the guest.
 */
static int deliver_queued(struct apf_kvm_vcpu *v, bool whole)
{
	unsigned int asked = atomic_load_explicit(&v->asked, memory_order_relaxed);
	struct apf_fault at = { 0 };
	uint64_t pc;
	int err;

	if (whole && asked & (ASK_POLL | ASK_ENTER)) {
		err = apf_arch_fault(v, &at, &pc);
		if (err)
			return err;
		pthread_mutex_lock(&v->lock);
		apf_link_poll(v, &at);
		pthread_mutex_unlock(&v->lock);
	} else if (asked & ASK_POLL) {
		pthread_mutex_lock(&v->lock);
		apf_link_poll(v, NULL);
		pthread_mutex_unlock(&v->lock);
	}
	if (atomic_load_explicit(&v->asked, memory_order_relaxed) & ASK_ENTER)
		apf_signal_vcpu(v);
	return GO_ON;
}

/* See stand_at. */
static bool halt_is_over(struct apf_kvm_vcpu *v)
{
	return v->doing == HALTED &&
	       (apf_page_want(v->k, v->halt_page) != 0 || !atomic_load(&v->noted));
}

static int before_run(struct apf_kvm_vcpu *v, bool whole)
{
	int r = GO_ON;

	if (halt_is_over(v))
		r = apf_run_end_halt(v);
	return r ? r : deliver_queued(v, whole);
}

int apf_kvm_run(struct apf_kvm_vcpu *v)
{
	bool whole = false;	/* nothing of the guest's last instruction is half done */
	int err, r = go_on_with(v);

	while (r == GO_ON) {
		r = before_run(v, whole);
		if (r)
			break;
		err = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
		if (v->doing == NOTIFIED)
			apf_doing_step(v, RUNS);
		whole = err == -EINTR || err == -EAGAIN;
		if (!err)
			r = exited(v);
		else if (whole)
			r = interrupted(v, err);
		else
			r = memory_fault(v, err);
	}
	return r == TO_CALLER ? 0 : r;
}
