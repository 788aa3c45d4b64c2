/* SPDX-License-Identifier: MIT */
/* The state of a vCPU as the files of this room see it. */
#ifndef ENGINE_VCPU_H
#define ENGINE_VCPU_H

#include <apf/engine.h>

#include "set.h"

#define APF_CTL_WORDS 10u	/* what arm64 needs */

/*
 * One flat block: this struct, the arrays of its set, the statistics. Made
 * all-zero first, so that the padding too can be compared. Invariants:
 * - the set is empty and no wake-all is queued while APF is disabled;
 * - every token in the set carries this vCPU's id, and none is there twice;
 * - `standing` is the page of the last fault, if that was a halt or a wait and
 *   its page has not come; it is not saved: a restored vCPU faults again (C16).
 */
struct apf_vcpu {
	const struct apf_engine_ops *ops;
	void *ctx;
	uint64_t fault_gfn;		/* of the last fault */
	uint32_t abi;
	uint32_t id;
	uint32_t counter;		/* of the next token */
	uint32_t tokens_per_page;
	uint32_t state_size;		/* of the block without the statistics behind it */
	bool has_lapic;
	uint8_t ready_irq;
	bool never_async;
	bool frozen;
	bool standing;			/* at fault_gfn */
	bool wake_all;			/* queued, goes before every queued ready */
	/* Control registers, as the generation numbers them. */
	uint64_t ctl[APF_CTL_WORDS];
	struct apf_set set;	/* last: its arrays follow */
};

/*
 * The size of the part of the block that decides how the vCPU behaves, from its
 * start: all but the statistics. For copying and comparing states.
 */
size_t apf_vcpu_state_size(const struct apf_vcpu *v);

/* The statistics stand behind the part that counts as state. */
static inline struct apf_vcpu_stats *stats_of(const struct apf_vcpu *v)
{
	return (struct apf_vcpu_stats *)((char *)v + v->state_size);
}

/* May this token stand in this vCPU's set (C8)? */
bool apf_vcpu_owns(const struct apf_vcpu *v, uint32_t token);

#endif
