/* SPDX-License-Identifier: MIT */
/*
 * One vCPU: running it, turning traps into verdicts, carrying verdicts out.
 *
 * Order at a trap, so that no page is ever waited for in vain: ask for the page,
 * let the engine note who waits, then look again whether the page has come. The
 * pager marks a page resident before it tells the vCPUs, so either it finds the
 * note, or the second look finds the page.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <apf/error.h>
#include <apf/store.h>

#include "arch.h"
#include "compat.h"

/* Bounds of the timer that retries a ready that could not go out (L5, I4, N6). */
#define BACKOFF_MIN_NS 1000000u
#define BACKOFF_MAX_NS 100000000u

int want(struct apf_kvm *k, uint64_t page)
{
	int r;

	while ((r = apf_mem_want(k->cfg.mem, page)) == -EAGAIN)
		sched_yield();
	return r;
}

unsigned int page_over(struct apf_kvm_vcpu *v, uint64_t gfn, int res)
{
	return res < 0 ? apf_vcpu_page_failed(v->engine, gfn) : apf_vcpu_page_done(v->engine, gfn);
}

/*
 * Lock held. `later` may only be taken back where the whole queue was looked at. at: the
 * state in which the vCPU runs on, or NULL.
 */
static void poll_engine(struct apf_kvm_vcpu *v, const struct apf_fault *at)
{
	atomic_store(&v->later, false);
	if (at)
		atomic_store(&v->due, false);
	act_on(v, at ? apf_vcpu_enter(v->engine, at) : apf_vcpu_poll(v->engine));
	if (!atomic_load(&v->later) && !atomic_load(&v->due))
		v->backoff_ns = BACKOFF_MIN_NS;
}

static void later_fired(void *arg)
{
	struct apf_kvm_vcpu *v = arg;

	pthread_mutex_lock(&v->lock);
	v->timer_armed = false;
	if (atomic_load(&v->later)) {
		v->backoff_ns = v->backoff_ns < BACKOFF_MAX_NS / 2 ? v->backoff_ns * 2
								   : BACKOFF_MAX_NS;
		poll_engine(v, NULL);
	}
	pthread_mutex_unlock(&v->lock);
}

/* Lock held. A full queue of the pager is no harm: the next exit tries again. */
static void arm_later(struct apf_kvm_vcpu *v)
{
	if (!v->timer_armed)
		v->timer_armed = !apf_mem_after(v->k->cfg.mem, v->backoff_ns, later_fired, v);
}

static void count_outstanding(struct apf_kvm_vcpu *v)
{
	struct apf_kvm *k = v->k;
	uint32_t is = apf_vcpu_outstanding(v->engine), was = v->outstanding;
	unsigned int total, most = atomic_load(&k->max_outstanding);

	if (is == was)
		return;
	v->outstanding = is;
	total = atomic_fetch_add(&k->outstanding, is - was) + (is - was);
	while (total > most && !atomic_compare_exchange_weak(&k->max_outstanding, &most, total))
		;
}

void act_on(struct apf_kvm_vcpu *v, unsigned int out)
{
	count_outstanding(v);
	if (out & APF_OUT_LATER) {
		atomic_store(&v->later, true);
		arm_later(v);
	}
	if (out & APF_OUT_KICK)
		atomic_store(&v->due, true);
	if ((out & (APF_OUT_WAKE | APF_OUT_KICK)) && atomic_load(&v->attached)) {
		atomic_fetch_add(&v->kicks, 1);
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	}
}

static int op_read32(void *ctx, uint64_t gpa, uint32_t *value)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_read(v->k, gpa, value, sizeof(*value)) ? -EFAULT : 0;
}

static int op_write32(void *ctx, uint64_t gpa, uint32_t value)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_write(v->k, gpa, &value, sizeof(value)) ? -EFAULT : 0;
}

static bool op_is_ram(void *ctx, uint64_t gpa, uint64_t len)
{
	struct apf_kvm_vcpu *v = ctx;

	return gpa_is_ram(v->k, gpa, len);
}

static int op_raise(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	struct apf_kvm_vcpu *v = ctx;
	int r = arch_raise(v, vector);

	if (r > 0)
		v->backoff_ns = BACKOFF_MIN_NS;
	else
		atomic_fetch_add(&v->msi_blocked, 1);
	return r;
}

static void op_lower(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	arch_lower(ctx, vector);
}

static int inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	int err = arch_inject(v, token);

	v->injected = !err;
	return err;
}

/*
 * The vCPU's own thread, between two runs. A HLT ends with it, the guest's as well as
 * ours (L11; a guest's WFI ended with the run); one that is not up, or was just sent an
 * INIT, takes no exception.
 */
static int op_inject(void *ctx, uint32_t token)
{
	struct apf_kvm_vcpu *v = ctx;
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	if (mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != arch_halted)
		return -EAGAIN;
	if (mp.mp_state == arch_halted) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
			return -errno;
	}
	v->halt_page = NO_PAGE;
	v->backoff_ns = BACKOFF_MIN_NS;
	return inject(v, token);
}

static const struct apf_engine_ops engine_ops = {
	.read32 = op_read32,
	.write32 = op_write32,
	.is_ram = op_is_ram,
	.raise = op_raise,
	.inject = op_inject,
	.lower = op_lower,
};

int apf_kvm_vcpu_add(struct apf_kvm *k, uint32_t id, int fd, struct kvm_run *run,
		     struct apf_kvm_vcpu **out)
{
	unsigned int place = atomic_load(&k->nr_vcpus);
	struct apf_vcpu_config cfg = {
		.abi = k->cfg.abi,
		.vcpu_id = id,
		.max_outstanding = k->cfg.max_outstanding,
		.has_lapic = true,
		.policy = k->cfg.policy,
		.ready_irq = k->cfg.ready_ppi,
	};
	size_t size = apf_vcpu_size(cfg.max_outstanding);
	struct apf_kvm_vcpu *v;
	int err;

	if (place >= k->cfg.max_vcpus)
		return apf_error_set(-EINVAL, "kvm: more than max_vcpus=%u vCPUs", k->cfg.max_vcpus);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	*v = (struct apf_kvm_vcpu){ .k = k, .id = id, .fd = fd, .run = run, .halt_page = NO_PAGE,
				    .raced_page = NO_PAGE, .backoff_ns = BACKOFF_MIN_NS };
	v->engine_mem = size ? aligned_alloc(64, (size + 63) & ~63ull) : NULL;
	err = v->engine_mem ? apf_vcpu_init(v->engine_mem, size, &cfg, &engine_ops, v, &v->engine)
			    : -ENOMEM;
	if (!err)
		err = arch_vcpu_init(v);
	if (err) {
		free(v->engine_mem);
		free(v);
		return err;
	}
	pthread_mutex_init(&v->lock, NULL);
	sigemptyset(&v->signals);
	sigaddset(&v->signals, SIGBUS);
	sigaddset(&v->signals, k->cfg.kick_signal);
	atomic_store(&k->vcpus[place], v);
	atomic_store(&k->nr_vcpus, place + 1);
	*out = v;
	return 0;
}

/*
 * Both signals are blocked in the thread and let in only inside KVM_RUN: a SIGBUS
 * that stayed blocked there would make KVM retry the fault for ever, and a kick
 * that comes outside stays pending until KVM_RUN, so that none is lost.
 */
int apf_kvm_vcpu_attach(struct apf_kvm_vcpu *v)
{
	union {
		struct kvm_signal_mask head;
		uint8_t bytes[sizeof(struct kvm_signal_mask) + 8];
	} mask = { .head.len = 8 };
	sigset_t inside;

	if (pthread_sigmask(SIG_BLOCK, &v->signals, NULL))
		return -EINVAL;
	pthread_sigmask(SIG_BLOCK, NULL, &inside);
	sigdelset(&inside, SIGBUS);
	sigdelset(&inside, v->k->cfg.kick_signal);
	memcpy(mask.head.sigset, &inside, 8);	/* the kernel's set is 8 bytes */
	if (ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask) < 0)
		return apf_error_set(-errno, "kvm: KVM_SET_SIGNAL_MASK: %s", strerror(errno));
	v->thread = pthread_self();
	atomic_store(&v->attached, true);
	if (atomic_load(&v->kicked))	/* by somebody who did not know the thread yet */
		pthread_kill(v->thread, v->k->cfg.kick_signal);
	return arch_pin(v);
}

void apf_kvm_kick(struct apf_kvm_vcpu *v)
{
	atomic_store(&v->kicked, true);
	if (atomic_load(&v->attached))
		pthread_kill(v->thread, v->k->cfg.kick_signal);
}

uint64_t apf_kvm_lost(const struct apf_kvm_vcpu *v)
{
	return v->lost_gpa;
}

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

/* Is the vCPU still in the halt that we put it into, and not in one of its own? */
static bool halted_by_us(struct apf_kvm_vcpu *v, uint32_t mp_state)
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
	if (r)
		act_on(v, page_over(v, f.gfn, r));
	else
		count_outstanding(v);
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

void apf_kvm_vcpu_reset(struct apf_kvm_vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	apf_vcpu_reset(v->engine);
	act_on(v, 0);
	pthread_mutex_unlock(&v->lock);
	v->halt_page = NO_PAGE;
}

size_t apf_kvm_vcpu_save(struct apf_kvm_vcpu *v, void *buf, size_t size, uint32_t *mp_state)
{
	size_t n;

	if (halted_by_us(v, *mp_state))
		*mp_state = KVM_MP_STATE_RUNNABLE;
	pthread_mutex_lock(&v->lock);
	if (v->k->cfg.delivery == APF_DELIVERY_KERNEL)
		v->k->kernel->get(v);
	n = apf_vcpu_save(v->engine, buf, size);
	if (v->k->cfg.delivery == APF_DELIVERY_KERNEL)
		apf_vcpu_reset(v->engine);	/* there the engine only lends its format */
	pthread_mutex_unlock(&v->lock);
	return n;
}

struct page_list {
	uint64_t *gfn;
	size_t n;
};

static void collect(void *arg, uint64_t gfn, uint32_t token)
{
	struct page_list *l = arg;

	l->gfn[l->n++] = gfn;
}

/*
 * C12: every outstanding page is asked for again; each token gets its own ready.
 * Asking is done without the lock, since the pager may want it before it can make
 * room in its queue.
 */
static int ask_again(struct apf_kvm_vcpu *v)
{
	struct page_list l = { .gfn = calloc(v->k->cfg.max_outstanding, sizeof(uint64_t)) };

	if (!l.gfn)
		return -ENOMEM;
	pthread_mutex_lock(&v->lock);
	apf_vcpu_for_each(v->engine, collect, &l);
	poll_engine(v, NULL);
	pthread_mutex_unlock(&v->lock);
	for (size_t i = 0; i < l.n; i++) {
		int r = want(v->k, gpa_to_page(v->k, l.gfn[i] << APF_PAGE_SHIFT));

		if (!r)
			continue;
		pthread_mutex_lock(&v->lock);
		act_on(v, page_over(v, l.gfn[i], r));
		pthread_mutex_unlock(&v->lock);
	}
	free(l.gfn);
	return 0;
}

int apf_kvm_vcpu_load(struct apf_kvm_vcpu *v, const void *buf, size_t size,
		      enum apf_delivery saved_as)
{
	enum apf_delivery now = v->k->cfg.delivery;
	bool whole;
	int err;

	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_load(v->engine, buf, size);
	whole = !err && now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER;
	if (err == -ENOSPC)
		err = 0;
	if (!err && now == APF_DELIVERY_KERNEL) {
		err = v->k->kernel->set(v);	/* KVM sends the wake-all itself */
		apf_vcpu_reset(v->engine);
	} else if (!err && !whole) {
		act_on(v, apf_vcpu_broadcast(v->engine));
	}
	pthread_mutex_unlock(&v->lock);
	return whole ? ask_again(v) : err;
}
