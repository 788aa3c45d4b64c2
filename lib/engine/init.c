/* SPDX-License-Identifier: MIT */
/* A vCPU's block of memory: its size, its set-up, and what can be read from it. */
#include <errno.h>
#include <string.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>

#include "abi.h"

/* INTIDs of private peripheral interrupts. */
#define FIRST_PPI 16
#define LAST_PPI 31

const char *apf_abi_name(uint32_t abi)
{
	const struct apf_abi *a = apf_abi_get(abi);

	return a ? a->name : NULL;
}

static size_t state_size(uint32_t max_outstanding)
{
	size_t size = apf_set_size(max_outstanding);

	if (!size)
		return 0;
	return (sizeof(struct apf_vcpu) - sizeof(struct apf_set) + size + 7) & ~(size_t)7;
}

size_t apf_vcpu_state_size(const struct apf_vcpu *v)
{
	return v->state_size;
}

size_t apf_vcpu_size(uint32_t max_outstanding)
{
	size_t size = state_size(max_outstanding);

	return size ? (size + sizeof(struct apf_vcpu_stats) + 63) & ~(size_t)63 : 0;
}

int apf_vcpu_init(void *mem, size_t size, const struct apf_vcpu_config *cfg,
		  const struct apf_engine_ops *ops, void *ctx, struct apf_vcpu **out)
{
	const struct apf_abi *abi = apf_abi_get(cfg->abi);
	size_t need = apf_vcpu_size(cfg->max_outstanding);
	struct apf_vcpu *v = mem;

	if (!abi)
		return apf_error_set(-EINVAL, "vCPU %u: unknown ABI %d", cfg->vcpu_id, cfg->abi);
	if (cfg->vcpu_id >> abi->id_bits)
		return apf_error_set(-EINVAL, "vCPU id %u does not fit into a token (%u bits)",
				     cfg->vcpu_id, abi->id_bits);
	if (cfg->ready_irq && (cfg->ready_irq < FIRST_PPI || cfg->ready_irq > LAST_PPI))
		return apf_error_set(-EINVAL, "vCPU %u: INTID %u is not a PPI", cfg->vcpu_id,
				     cfg->ready_irq);
	if (!need)
		return apf_error_set(-EINVAL, "vCPU %u: %u outstanding faults, not 1 to %u",
				     cfg->vcpu_id, cfg->max_outstanding, APF_SET_MAX);
	if ((uintptr_t)mem % 64)
		return apf_error_set(-EINVAL, "vCPU %u: memory not 64-byte aligned", cfg->vcpu_id);
	if (size < need)
		return apf_error_set(-ENOSPC, "vCPU %u: %zu bytes given, %zu needed", cfg->vcpu_id,
				     size, need);
	memset(mem, 0, need);
	v->ops = ops;
	v->ctx = ctx;
	v->abi = cfg->abi;
	v->id = cfg->vcpu_id;
	v->counter = 1;
	v->tokens_per_page = cfg->policy.tokens_per_page;
	v->state_size = (uint32_t)state_size(cfg->max_outstanding);
	v->has_lapic = cfg->has_lapic;
	v->ready_irq = cfg->ready_irq;
	v->never_async = cfg->policy.never_async;
	apf_set_init(&v->set, cfg->max_outstanding, abi->id_bits);
	*out = v;
	return 0;
}

bool apf_vcpu_enabled(const struct apf_vcpu *v)
{
	return abi_of(v)->enabled(v);
}

uint64_t apf_vcpu_area(const struct apf_vcpu *v)
{
	return abi_of(v)->area(v);
}

bool apf_vcpu_owns(const struct apf_vcpu *v, uint32_t token)
{
	uint32_t id_mask = (1u << abi_of(v)->id_bits) - 1;

	return token && token != APF_TOKEN_BROADCAST && (token & id_mask) == v->id;
}

void apf_vcpu_freeze(struct apf_vcpu *v, bool frozen)
{
	v->frozen = frozen;
}

void apf_vcpu_for_each(const struct apf_vcpu *v,
		       void (*fn)(void *arg, uint64_t gfn, uint32_t token), void *arg)
{
	const struct apf_node *n = apf_set_first(&v->set, APF_NODE_WAITING);

	for (; n; n = apf_set_next(&v->set, n))
		fn(arg, n->gfn, n->token);
}

uint32_t apf_vcpu_outstanding(const struct apf_vcpu *v)
{
	return v->set.list[APF_NODE_WAITING].count;
}

void apf_vcpu_stats(const struct apf_vcpu *v, struct apf_vcpu_stats *s)
{
	*s = *stats_of(v);
	s->outstanding = apf_vcpu_outstanding(v);
	s->queued = v->set.list[APF_NODE_READY].count + v->wake_all;
}
