/* SPDX-License-Identifier: MIT */
/* libapf-guest on x86: what the library needs of the processor, and the #PF hook. */
#include "kernel.h"

static int op_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return msr_write(msr, value);
}

static void op_cpuid(void *ctx, uint32_t leaf, uint32_t r[4])
{
	cpuid(leaf, r);
}

static void op_eoi(void *ctx)
{
	apic_eoi();
}

void arch_apf_ops(struct apf_guest_ops *ops)
{
	ops->wrmsr = op_wrmsr;
	ops->cpuid = op_cpuid;
	ops->eoi = op_eoi;
}

static enum apf_guest_abi detect(struct apf_guest *g)
{
	enum apf_guest_abi offered = apf_guest_x86_detect(g);

	/* Who knows the RFC's registers knows those of 2010, too (I6). */
	if (option.abi == APF_GUEST_X86_2010 && offered == APF_GUEST_X86_RFC)
		return APF_GUEST_X86_2010;
	return offered;
}

static void garbage_ack(uint64_t random)
{
	msr_write(APF_MSR_ACK, random);
}

const struct apf_calls apf_calls = {
	.detect = detect,
	.enable = apf_guest_x86_enable,
	.disable = apf_guest_x86_disable,
	.ready = apf_guest_x86_ready,
	.ignore_ready = apic_eoi,
	.ready_by_exception = APF_GUEST_X86_2010,
	.words = 2,
	.garbage_ack = garbage_ack,
};

bool apf_page_fault(const struct frame *f)
{
	struct apf_wait wait = { .task = current() };
	struct apf_guest_x86_trap t = {
		.error_code = (uint32_t)f->error, .user = f->cs & 3,
		.irqs_on = f->rflags & RFLAGS_IF,
	};

	__asm__ volatile("mov %%cr2, %0" : "=r"(t.cr2));
	return apf_ignores_exception() ||
	       apf_guest_x86_page_fault(&apf_guest, &t, &wait.waiter) == APF_GUEST_PF_RETRY;
}
