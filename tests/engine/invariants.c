/* SPDX-License-Identifier: MIT */
/* Walks the whole structure of a vCPU's set, bounded even if it is corrupt. */
#include <engine/abi.h>

#include "invariants.h"

static bool on_gfn_chain(const struct apf_set *s, const struct apf_node *n)
{
	const struct apf_node *nodes = (const struct apf_node *)(s + 1);
	const uint32_t *heads = (const uint32_t *)(nodes + s->capacity);
	uint32_t steps = 0;

	for (uint32_t b = 0; b <= s->mask; b++)
		for (uint32_t i = heads[b]; i && steps++ <= s->capacity; i = nodes[i - 1].gfn_next)
			if (&nodes[i - 1] == n)
				return true;
	return false;
}

static const char *check_list(const struct apf_vcpu *v, enum apf_node_state state)
{
	const struct apf_set *s = &v->set;
	const struct apf_node *n = apf_set_first(s, state);
	uint32_t count = 0;

	for (; n; n = apf_set_next(s, n)) {
		if (++count > s->list[state].count)
			return "a list is longer than its count";
		if (n->state != (uint32_t)state)
			return "a node is on the wrong list";
		if (!apf_vcpu_owns(v, n->token))
			return "a token is not of this vCPU, or 0, or ~0";
		if (apf_set_find(s, n->token) != n)
			return "a token is alive twice, or not on its hash";
		if (!on_gfn_chain(s, n))
			return "a node is not on the hash of pages";
	}
	return count == s->list[state].count ? NULL : "a list is shorter than its count";
}

const char *broken_invariant(const struct apf_vcpu *v)
{
	const struct apf_set *s = &v->set;
	const struct apf_node *nodes = (const struct apf_node *)(s + 1);
	uint32_t live = s->list[APF_NODE_WAITING].count + s->list[APF_NODE_READY].count;
	uint32_t free = 0;

	for (uint32_t i = s->free; i && free <= s->used; i = nodes[i - 1].next)
		free++;
	if (s->used > s->capacity || live + free != s->used)
		return "a node is lost";
	if (!apf_vcpu_enabled(v) && (live || v->wake_all))
		return "something is outstanding while APF is disabled";
	for (int state = 0; state < APF_NODE_LISTS; state++) {
		const char *broken = check_list(v, state);

		if (broken)
			return broken;
	}
	return NULL;
}
