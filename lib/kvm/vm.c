/* SPDX-License-Identifier: MIT */
/* The VM's side of the binding: set-up, what happens when the pager has pages, statistics. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"

bool apf_host_has(int fd, unsigned int cap)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, cap) > 0;
}

int apf_host_check(const struct kvm_need *need, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!need[i].there)
			return apf_error_set(-EOPNOTSUPP, "kvm: this host lacks %s (%s); "
					     "use delivery \"sync\" or a newer kernel",
					     need[i].name, need[i].why);
	return 0;
}

int apf_kvm_probe(int kvm_fd, struct apf_kvm_probe *p)
{
	if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return apf_error_set(-EOPNOTSUPP, "kvm: this is not a KVM of API version %d",
				     KVM_API_VERSION);
	apf_arch_probe(kvm_fd, p);
	return 0;
}

/*
 * Every vCPU is told of every page: a vCPU that has nothing to do with it finds
 * that out by one look into its hash table, under its own lock, taken once per
 * batch. The alternative, a list of waiters per page, would need its own lock.
 */
static void tell(struct apf_kvm_vcpu *v, const struct apf_mem_done *d, unsigned int n)
{
	unsigned int out = 0;

	pthread_mutex_lock(&v->lock);
	for (unsigned int i = 0; v->bound && i < n; i++) {
		struct ram_page page = { d[i].page };

		out |= apf_link_page_over(v, apf_page_gfn(v->k, page), d[i].res);
	}
	if (v->bound)
		apf_link_act(v, out);
	pthread_mutex_unlock(&v->lock);
}

/* The memory's done callback. */
static void pages_done(void *ctx, const struct apf_mem_done *d, unsigned int n)
{
	struct apf_kvm *k = ctx;

	for (unsigned int i = 0; i < atomic_load(&k->nr_vcpus); i++)
		tell(atomic_load(&k->vcpus[i]), d, n);
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* Each page of RAM has one guest-physical address, and each address one page. */
static int check_overlaps(const struct apf_kvm_config *cfg)
{
	for (unsigned int i = 0; i < cfg->nr_slots; i++) {
		for (unsigned int j = 0; j < i; j++) {
			const struct apf_kvm_slot *a = &cfg->slots[j], *b = &cfg->slots[i];

			if (overlap(a->gpa, a->size, b->gpa, b->size) ||
			    overlap(a->offset, a->size, b->offset, b->size))
				return apf_error_set(-EINVAL, "kvm: memory slots %u and %u share "
						     "addresses or RAM", j, i);
		}
	}
	return 0;
}

static int check_slots(const struct apf_kvm_config *cfg)
{
	uint64_t ram = apf_mem_size(cfg->mem);
	uint32_t page = apf_mem_page_size(cfg->mem);

	if (!cfg->nr_slots || cfg->nr_slots > MAX_SLOTS)
		return apf_error_set(-EINVAL, "kvm: %u memory slots; 1 to %u are possible",
				     cfg->nr_slots, MAX_SLOTS);
	for (unsigned int i = 0; i < cfg->nr_slots; i++) {
		const struct apf_kvm_slot *s = &cfg->slots[i];

		if ((s->gpa | s->size | s->offset) % page || !s->size ||
		    s->offset > ram || s->size > ram - s->offset || s->gpa + s->size < s->gpa)
			return apf_error_set(-EINVAL, "kvm: memory slot %u (gpa 0x%llx, 0x%llx bytes) "
					     "is not aligned to pages of %u bytes or not inside RAM",
					     i, (unsigned long long)s->gpa,
					     (unsigned long long)s->size, page);
	}
	return check_overlaps(cfg);
}

int apf_kvm_create(const struct apf_kvm_config *cfg, struct apf_kvm **out)
{
	struct apf_kvm *k;
	int err = check_slots(cfg);

	if (err)
		return err;
	if (!cfg->max_vcpus || cfg->max_vcpus > 4096)
		return apf_error_set(-EINVAL, "kvm: max_vcpus %u is not in 1..4096", cfg->max_vcpus);
	k = calloc(1, sizeof(*k));
	if (!k)
		return apf_error_set(-ENOMEM, "kvm: no memory for the VM");
	k->cfg = *cfg;
	apf_slots_set(k, cfg->slots, cfg->nr_slots);
	if (!k->cfg.max_outstanding)
		k->cfg.max_outstanding = 1024;
	if (!k->cfg.kick_signal)
		k->cfg.kick_signal = SIGUSR1;
	k->cfg.policy.never_async |= cfg->delivery != APF_DELIVERY_USER;
	k->vcpus = calloc(cfg->max_vcpus, sizeof(*k->vcpus));
	err = k->vcpus ? apf_arch_vm_init(k) : apf_error_set(-ENOMEM, "kvm: no memory for vCPUs");
	if (err) {
		free(k->vcpus);
		free(k);
		return err;
	}
	apf_mem_set_done(cfg->mem, pages_done, k);
	*out = k;
	return 0;
}

void apf_kvm_destroy(struct apf_kvm *k)
{
	if (!k)
		return;
	for (unsigned int i = 0; i < atomic_load(&k->nr_vcpus); i++) {
		struct apf_kvm_vcpu *v = atomic_load(&k->vcpus[i]);

		pthread_mutex_destroy(&v->lock);
		free(v->engine_mem);
		free(v);
	}
	free(k->vcpus);
	free(k);
}

void apf_kvm_freeze(struct apf_kvm *k, bool frozen)
{
	for (unsigned int i = 0; i < atomic_load(&k->nr_vcpus); i++) {
		struct apf_kvm_vcpu *v = atomic_load(&k->vcpus[i]);

		pthread_mutex_lock(&v->lock);
		if (v->bound) {
			apf_vcpu_freeze(v->engine, frozen);
			if (!frozen)
				apf_link_act(v, apf_vcpu_poll(v->engine));
		}
		pthread_mutex_unlock(&v->lock);
	}
}

void apf_kvm_vcpu_stats(const struct apf_kvm_vcpu *v, struct apf_vcpu_stats *s)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&v->lock;

	memset(s, 0, sizeof(*s));
	pthread_mutex_lock(lock);
	if (v->bound)
		apf_vcpu_stats(v->engine, s);
	pthread_mutex_unlock(lock);
}

static void add_engine_stats(struct apf_vcpu_stats *sum, const struct apf_vcpu_stats *s)
{
	sum->faults += s->faults;
	sum->np += s->np;
	sum->ready += s->ready;
	sum->broadcasts += s->broadcasts;
	sum->halts += s->halts;
	sum->waits += s->waits;
	sum->repeats += s->repeats;
	sum->full += s->full;
	sum->outstanding += s->outstanding;
	sum->queued += s->queued;
	for (unsigned int i = 0; i < APF_WHY_COUNT; i++)
		sum->why[i] += s->why[i];
}

void apf_kvm_stats(const struct apf_kvm *k, struct apf_kvm_stats *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned int i = 0; i < atomic_load(&k->nr_vcpus); i++) {
		const struct apf_kvm_vcpu *v = atomic_load(&k->vcpus[i]);
		struct apf_vcpu_stats e;

		apf_kvm_vcpu_stats(v, &e);
		add_engine_stats(&s->engine, &e);
		s->traps += atomic_load(&v->traps);
		s->raced += atomic_load(&v->raced);
		s->emulated += atomic_load(&v->emulated);
		s->kicks += atomic_load(&v->kicks);
		s->msi_blocked += atomic_load(&v->msi_blocked);
	}
	s->engine.max_outstanding = atomic_load(&k->max_outstanding);
}
