/* SPDX-License-Identifier: MIT */
/*
 * What a generation of the protocol is to the engine: a few numbers and
 * functions. Everything else - the decision at a fault, tokens, the set, the
 * queue, save and load - is common (A14). A new generation is one file that
 * fills in a struct apf_abi, and one line in apf_abi_get().
 */
#ifndef ENGINE_ABI_H
#define ENGINE_ABI_H

#include "vcpu.h"

/* What a control write or call asks of the engine, once the registers hold it. */
enum apf_effect {
	APF_EFFECT_NONE,
	APF_EFFECT_LOOK,	/* look whether something queued may go out */
	APF_EFFECT_WAKE_ALL,	/* queue a wake-all (C6), then look */
	APF_EFFECT_DISABLE,	/* drop the set and the queue (C10) */
	APF_EFFECT_RESTART,	/* both, in this order (A9) */
};

/* What became of a ready. */
enum apf_sent {
	APF_SENT,		/* the guest tells when it has consumed it (N4) */
	APF_SENT_SILENT,	/* it will not tell */
	APF_HELD,		/* the guest has not consumed the last one; it will tell */
	APF_BLOCKED,		/* nobody will tell: look again later (C9, N6) */
	APF_AT_ENTRY,		/* goes out only where the vCPU enters the guest (L5) */
};

struct apf_abi {
	const char *name;
	uint32_t id_bits;	/* of a token, below its counter; limits vCPU ids (L3, A4) */
	uint32_t ctl_words;	/* of apf_vcpu.ctl that are state, to be saved */
	bool failed_wakes_all;	/* a page that is lost sends ~0, not its own tokens (L6, N10) */

	/* Are these the values of control registers that the guest could have written? */
	bool (*ctl_valid)(const struct apf_vcpu *v, const uint64_t *ctl);
	/* x86, else NULL. An enum apf_effect, or -EINVAL with nothing changed. */
	int (*ctl_write)(struct apf_vcpu *v, uint32_t reg, uint64_t value);
	int (*ctl_read)(const struct apf_vcpu *v, uint32_t reg, uint64_t *value);
	/* arm64, else NULL. An enum apf_effect; result, all 0 before, is what x0 to x3 get. */
	int (*call)(struct apf_vcpu *v, const uint64_t x[6], uint64_t result[4]);
	bool (*enabled)(const struct apf_vcpu *v);
	uint64_t (*area)(const struct apf_vcpu *v);

	/* NULL, or: does the area hold a notification not consumed, with which nothing halts (A8)? */
	bool (*unconsumed)(const struct apf_vcpu *v);
	/* May an NP be delivered now? APF_WHY_ASYNC if so. Changes nothing. */
	enum apf_why (*np_gate)(const struct apf_vcpu *v, const struct apf_fault *f);
	/* The part of an NP that lies in guest memory: 0, or -EFAULT and nothing written. */
	int (*np_write)(struct apf_vcpu *v, uint32_t token);
	void (*np_undo)(struct apf_vcpu *v);
	/*
	 * Deliver a token, if the gate for readies lets it through (C15). at: the state
	 * in which the vCPU is about to enter the guest; NULL: it may be inside.
	 */
	enum apf_sent (*ready)(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at);
	/* NULL, or: all is dropped, so an interrupt that is still raised is none any more (A16). */
	void (*lower)(struct apf_vcpu *v);
};

extern const struct apf_abi apf_abi_int, apf_abi_2010, apf_abi_rfc, apf_abi_arm64;

/* NULL: this library has no such generation. */
static inline const struct apf_abi *apf_abi_get(uint32_t id)
{
	static const struct apf_abi *const all[] = {
		[APF_ABI_X86_INT] = &apf_abi_int,
		[APF_ABI_X86_2010] = &apf_abi_2010,
		[APF_ABI_X86_RFC] = &apf_abi_rfc,
		[APF_ABI_ARM64] = &apf_abi_arm64,
	};

	return id < sizeof(all) / sizeof(all[0]) ? all[id] : NULL;
}

static inline const struct apf_abi *abi_of(const struct apf_vcpu *v)
{
	return apf_abi_get(v->abi);
}

#endif
