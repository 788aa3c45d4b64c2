/* SPDX-License-Identifier: MIT */
/* Between the waiters (core.c) and the generations of the protocol (x86.c). */
#ifndef GUEST_LIB_CORE_H
#define GUEST_LIB_CORE_H

#include <apf/guest.h>

/* Words that the host reads or writes at the same time. */
static inline uint32_t read_shared(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void write_shared(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline struct apf_guest_cpu *this_cpu(struct apf_guest *g)
{
	return g->cpu[g->ops->cpu(g->ctx)];
}

void apf_guest_trace(struct apf_guest *g, enum apf_guest_event ev, uint32_t cpu, uint32_t token);

/*
 * A ready with this token was received: wake who waits for it, or remember it
 * for an NP still to come. False: there was no room to remember; the caller must
 * make the host forget all NPs of this CPU.
 */
bool apf_guest_take_ready(struct apf_guest *g, struct apf_guest_cpu *c, uint32_t token);

/* Wake all waiters of the CPU. NPs that were received, but do not wait yet, will not. */
void apf_guest_wake_all(struct apf_guest *g, struct apf_guest_cpu *c);

/* Forget remembered readies, once the host has forgotten the NPs they belong to. */
void apf_guest_forget_early(struct apf_guest_cpu *c);

#endif
