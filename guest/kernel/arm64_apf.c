/* SPDX-License-Identifier: MIT */
/* libapf-guest on arm64: what the library needs of the processor, and the abort hook. */
#include "kernel.h"

extern char region_start[], region_end[];

static void op_hvc(void *ctx, const uint64_t x[7], uint64_t r[4])
{
	hypervisor_call(x, r);
}

static void op_eoi(void *ctx)
{
	gic_eoi(apf_guest.intid);
}

void arch_apf_ops(struct apf_guest_ops *ops)
{
	ops->hvc = op_hvc;
	ops->eoi = op_eoi;
}

/* A host of both revisions is asked for the first only by the command line. */
static enum apf_guest_abi detect(struct apf_guest *g)
{
	enum apf_guest_abi offered = APF_GUEST_OFF;

	if (machine.psci_by_hvc)
		offered = apf_guest_arm64_detect(g);
	if (offered == APF_GUEST_ARM64_INT && option.abi == APF_GUEST_ARM64_ABORT)
		offered = APF_GUEST_ARM64_ABORT;
	option.vector = g->intid;
	g->keeps_busy = option.busy;
	if (option.region)
		apf_guest_arm64_add_region(g, (uintptr_t)region_start,
					   (uintptr_t)(region_end - region_start));
	return offered;
}

static int enable(struct apf_guest *g)
{
	if (g->abi == APF_GUEST_ARM64_INT)
		gic_allow(g->intid);
	return apf_guest_arm64_enable(g);
}

/* Its line stays up until an acknowledge. */
static void ignore_ready(void)
{
	gic_forbid(apf_guest.intid);
	gic_eoi(apf_guest.intid);
}

static void garbage_ack(uint64_t random)
{
	const uint64_t ack = (uint64_t)APF_ARM64_OP_ACK << APF_ARM64_OP_SHIFT;
	const uint64_t x[7] = { APF_ARM64_FN_APF, (uint32_t)ack, (ack >> 32) ^ (random & 1), 0 };
	uint64_t r[4];

	hypervisor_call(x, r);
}

const struct apf_calls apf_calls = {
	.detect = detect,
	.enable = enable,
	.disable = apf_guest_arm64_disable,
	.ready = apf_guest_arm64_ready,
	.ignore_ready = ignore_ready,
	.ready_by_exception = APF_GUEST_ARM64_ABORT,
	.words = 3,
	.garbage_ack = garbage_ack,
};

bool apf_abort(const struct frame *f)
{
	struct apf_wait wait = { .task = current() };
	const struct apf_guest_arm64_trap t = {
		.far = f->far, .esr = f->esr, .pc = f->elr, .irqs_on = !(f->spsr & PSTATE_I),
	};

	return apf_ignores_exception() ||
	       apf_guest_arm64_abort(&apf_guest, &t, &wait.waiter) == APF_GUEST_PF_RETRY;
}
