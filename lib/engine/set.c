/* SPDX-License-Identifier: MIT */
/* The outstanding set: a pool of nodes, two hashes, two lists, all by index. */
#include <string.h>

#include "set.h"

static struct apf_node *node_at(const struct apf_set *s, uint32_t index)
{
	return (struct apf_node *)(s + 1) + index - 1;
}

static uint32_t index_of(const struct apf_set *s, const struct apf_node *n)
{
	return (uint32_t)(n - (struct apf_node *)(s + 1)) + 1;
}

static uint32_t *hash_heads(const struct apf_set *s)
{
	return (uint32_t *)((struct apf_node *)(s + 1) + s->capacity);
}

static uint32_t *gfn_head(const struct apf_set *s, uint64_t gfn)
{
	return hash_heads(s) + ((gfn * 0x9e3779b97f4a7c15ull >> 32) & s->mask);
}

/*
 * By the token's counter and unmixed: counters are dense while tokens live for
 * about the same time, and whoever picks tokens on purpose (a saved file) gets
 * no chain longer than 2^20 / heads.
 */
static uint32_t *token_head(const struct apf_set *s, uint32_t token)
{
	return hash_heads(s) + s->mask + 1 + ((token >> s->token_shift) & s->mask);
}

static uint32_t heads_for(uint32_t capacity)
{
	uint32_t n = 1;

	while (n < capacity)
		n <<= 1;
	return n;
}

size_t apf_set_size(uint32_t capacity)
{
	if (!capacity || capacity > APF_SET_MAX)
		return 0;
	return sizeof(struct apf_set) + capacity * sizeof(struct apf_node) +
	       2 * heads_for(capacity) * sizeof(uint32_t);
}

void apf_set_init(struct apf_set *s, uint32_t capacity, uint32_t token_shift)
{
	memset(s, 0, apf_set_size(capacity));
	s->capacity = capacity;
	s->mask = heads_for(capacity) - 1;
	s->token_shift = token_shift;
}

static void list_append(struct apf_set *s, struct apf_node *n, enum apf_node_state state)
{
	struct apf_list *l = &s->list[state];
	uint32_t index = index_of(s, n);

	n->state = state;
	n->next = 0;
	n->prev = l->tail;
	if (l->tail)
		node_at(s, l->tail)->next = index;
	else
		l->head = index;
	l->tail = index;
	l->count++;
}

static void list_unlink(struct apf_set *s, struct apf_node *n)
{
	struct apf_list *l = &s->list[n->state];

	if (n->prev)
		node_at(s, n->prev)->next = n->next;
	else
		l->head = n->next;
	if (n->next)
		node_at(s, n->next)->prev = n->prev;
	else
		l->tail = n->prev;
	l->count--;
}

struct apf_node *apf_set_add(struct apf_set *s, uint64_t gfn, uint32_t token,
			     enum apf_node_state state)
{
	uint32_t *by_gfn = gfn_head(s, gfn), *by_token = token_head(s, token);
	struct apf_node *n;

	if (s->free) {
		n = node_at(s, s->free);
		s->free = n->next;
	} else if (s->used < s->capacity) {
		n = node_at(s, ++s->used);
	} else {
		return NULL;
	}
	n->gfn = gfn;
	n->token = token;
	n->gfn_next = *by_gfn;
	n->token_next = *by_token;
	*by_gfn = *by_token = index_of(s, n);
	list_append(s, n, state);
	return n;
}

void apf_set_remove(struct apf_set *s, struct apf_node *n)
{
	uint32_t index = index_of(s, n);
	uint32_t *link;

	for (link = gfn_head(s, n->gfn); *link != index; link = &node_at(s, *link)->gfn_next)
		;
	*link = n->gfn_next;
	for (link = token_head(s, n->token); *link != index; link = &node_at(s, *link)->token_next)
		;
	*link = n->token_next;
	list_unlink(s, n);
	/* Nothing stale stays: equal sets have equal bytes as far as possible. */
	memset(n, 0, sizeof(*n));
	n->next = s->free;
	s->free = index;
}

/* Wholesale, so that its time does not depend on how a hostile guest filled it. */
void apf_set_clear(struct apf_set *s)
{
	memset(s + 1, 0, s->used * sizeof(struct apf_node));
	memset(hash_heads(s), 0, 2 * (s->mask + 1) * sizeof(uint32_t));
	memset(s->list, 0, sizeof(s->list));
	s->used = s->free = 0;
}

struct apf_node *apf_set_find(const struct apf_set *s, uint32_t token)
{
	uint32_t i = *token_head(s, token);

	while (i && node_at(s, i)->token != token)
		i = node_at(s, i)->token_next;
	return i ? node_at(s, i) : NULL;
}

uint32_t apf_set_waiting(const struct apf_set *s, uint64_t gfn, uint32_t *token)
{
	uint32_t count = 0;

	for (uint32_t i = *gfn_head(s, gfn); i; i = node_at(s, i)->gfn_next) {
		const struct apf_node *n = node_at(s, i);

		if (n->gfn != gfn || n->state != APF_NODE_WAITING)
			continue;
		*token = n->token;
		count++;
	}
	return count;
}

void apf_set_page_done(struct apf_set *s, uint64_t gfn)
{
	for (uint32_t i = *gfn_head(s, gfn); i; i = node_at(s, i)->gfn_next) {
		struct apf_node *n = node_at(s, i);

		if (n->gfn != gfn || n->state != APF_NODE_WAITING)
			continue;
		list_unlink(s, n);
		list_append(s, n, APF_NODE_READY);
	}
}

struct apf_node *apf_set_first(const struct apf_set *s, enum apf_node_state state)
{
	uint32_t index = s->list[state].head;

	return index ? node_at(s, index) : NULL;
}

struct apf_node *apf_set_next(const struct apf_set *s, const struct apf_node *n)
{
	return n->next ? node_at(s, n->next) : NULL;
}
