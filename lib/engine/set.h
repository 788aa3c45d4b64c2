/* SPDX-License-Identifier: MIT */
/*
 * The outstanding set of one vCPU (rows C1-C3, C8, A14): every NP that was
 * delivered and whose ready was not. Shared by all generations of the protocol.
 *
 * The set is flat: a header, a fixed pool of nodes behind it, then the heads of
 * the two hashes. Everything is linked by index (0: none), so a copy of the
 * bytes is a copy of the set, and zeroed memory is an empty one.
 */
#ifndef ENGINE_SET_H
#define ENGINE_SET_H

#include <stddef.h>
#include <stdint.h>

#define APF_SET_MAX (1u << 20)

/* A node is on exactly one list, and on both hashes unless it is free. */
enum apf_node_state {
	APF_NODE_WAITING,	/* NP delivered, the page has not come */
	APF_NODE_READY,		/* the page has come, ready is queued; first in, first out */
	APF_NODE_LISTS
};

struct apf_node {
	uint64_t gfn;
	uint32_t token;
	uint32_t state;		/* enum apf_node_state */
	uint32_t next, prev;	/* of its list; next of the free list */
	uint32_t gfn_next;
	uint32_t token_next;
};

struct apf_list {
	uint32_t head, tail, count;
};

struct apf_set {
	_Alignas(8) uint32_t capacity;	/* aligned for the nodes behind */
	uint32_t mask;		/* heads of each hash, less one */
	uint32_t token_shift;	/* what a token has below its counter */
	uint32_t used;		/* nodes ever taken: those above have never been touched */
	uint32_t free;
	struct apf_list list[APF_NODE_LISTS];
};

/* Bytes of a set including its header; 0 if capacity is out of range. */
size_t apf_set_size(uint32_t capacity);

/* `s` must have apf_set_size(capacity) bytes behind it. */
void apf_set_init(struct apf_set *s, uint32_t capacity, uint32_t token_shift);

/* Enter a token at the end of its list. NULL if the pool is empty (C5). */
struct apf_node *apf_set_add(struct apf_set *s, uint64_t gfn, uint32_t token,
			     enum apf_node_state state);
void apf_set_remove(struct apf_set *s, struct apf_node *n);
void apf_set_clear(struct apf_set *s);

/* Is this token alive (C8)? NULL if not. */
struct apf_node *apf_set_find(const struct apf_set *s, uint32_t token);

/* How many tokens wait for this page (C3)? *token gets one of them. */
uint32_t apf_set_waiting(const struct apf_set *s, uint64_t gfn, uint32_t *token);

/* Move every token that waits for this page to the ready list. */
void apf_set_page_done(struct apf_set *s, uint64_t gfn);

/* Walk a list in order: first, then next until NULL. */
struct apf_node *apf_set_first(const struct apf_set *s, enum apf_node_state state);
struct apf_node *apf_set_next(const struct apf_set *s, const struct apf_node *n);

#endif
