/* SPDX-License-Identifier: MIT */
/* Between the waiters (core.c), what all generations do (notify.c) and each of them. */
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

/* --- core.c --- */

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

/* --- notify.c --- */

/* How a processor architecture talks to the host. */
struct apf_guest_arch {
	/* On, as g says; false: refused, and off. */
	bool (*switch_on)(struct apf_guest *g, struct apf_guest_cpu *c);
	void (*switch_off)(struct apf_guest *g);
	/* The token word is 0 again. */
	void (*ack)(struct apf_guest *g);
};

int apf_guest_enable(struct apf_guest *g, const struct apf_guest_arch *arch);
void apf_guest_disable(struct apf_guest *g, const struct apf_guest_arch *arch);

/* The host is told to forget its NPs of this CPU, and all who wait look for themselves. */
void apf_guest_restart(struct apf_guest *g, struct apf_guest_cpu *c,
		       const struct apf_guest_arch *arch);

/* An exception with a reason other than 0. */
struct apf_guest_said {
	uint32_t reason;
	uint64_t address;	/* a token, from an honest host */
	bool user;		/* it came from user mode */
	bool odd;		/* something else of it is as in no notification */
	bool may_be_ready;	/* in this generation */
};

/* Clears the reason, first of all (L8), and does what the exception says. */
enum apf_guest_pf apf_guest_take_exception(struct apf_guest *g, const struct apf_guest_said *said,
					   const struct apf_guest_arch *arch,
					   struct apf_guest_notice *n);

/* An exception that was taken: wait if it was an NP. Never returns PF_WAIT. */
enum apf_guest_pf apf_guest_finish(struct apf_guest *g, enum apf_guest_pf found,
				   const struct apf_guest_notice *n, struct apf_guest_waiter *w);

/* The ready interrupt where the token word is for ready only (N4, N9, A16), after its EOI. */
void apf_guest_take_token_word(struct apf_guest *g, const struct apf_guest_arch *arch);

#endif
