/* SPDX-License-Identifier: MIT */
/*
 * x86: KVM's instruction emulator does not trap on a missing page. Where it reads
 * or writes one, KVM takes it for a device (KVM_EXIT_MMIO with an address in RAM);
 * where it cannot fetch an instruction, emulation fails. Both are undone here: the page is
 * waited for (apf_run_need), then the access is completed or the instruction runs again.
 */
#include <string.h>

#include "kvm/arch.h"
#include "kvm/x86/x86.h"

#define MAX_INSN	15u

/*
 * What the instruction at hand may touch: itself, and what the string registers
 * and the stack point to. Anything else shows up as another exit.
 */
int apf_x86_need_instruction(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs s;
	struct kvm_regs r;
	int err = apf_x86_regs(v, &r, &s);
	const uint64_t va[] = { s.cs.base + r.rip, s.cs.base + r.rip + MAX_INSN - 1, s.ds.base + r.rsi,
				s.es.base + r.rdi, s.ss.base + r.rsp };

	for (size_t i = 0; i < sizeof(va) / sizeof(*va) && !err; i++)
		err = apf_x86_need_linear(v, &s, va[i]);
	return err;
}

int apf_x86_mmio(struct apf_kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t gpa = run->mmio.phys_addr;
	int r;

	if (run->mmio.len > sizeof(run->mmio.data) ||
	    !(run->mmio.is_write ? apf_gpa_is_writable : apf_gpa_is_ram)(v->k, gpa, run->mmio.len))
		return TO_CALLER;
	r = apf_run_need(v, gpa, run->mmio.len);
	if (!r)
		r = apf_x86_need_instruction(v);
	if (r)
		return r;
	r = run->mmio.is_write ? apf_gpa_write(v->k, gpa, run->mmio.data, run->mmio.len)
			       : apf_gpa_read(v->k, gpa, run->mmio.data, run->mmio.len);
	if (r)
		return apf_run_lost(v, gpa, r);
	atomic_fetch_add(&v->emulated, 1);
	return GO_ON;
}

bool apf_x86_may_run_again(struct apf_kvm_vcpu *v, uint64_t pc)
{
	if (v->fetched || pc != v->failed_pc)
		v->failures = 0;
	v->failed_pc = pc;
	return ++v->failures <= RACES_BEFORE_ERROR;
}

/* Exceptions on their way are forgotten: the instruction at hand raises its own again. */
int apf_x86_run_again(struct apf_kvm_vcpu *v)
{
	struct kvm_vcpu_events buf, *ev;
	int err = apf_x86_events(v, &buf, &ev);

	if (err)
		return err;
	atomic_fetch_add(&v->emulated, 1);
	memset(&ev->exception, 0, sizeof(ev->exception));
	ev->exception_has_payload = 0;
	return apf_x86_set_exception(v, ev);
}

/* KVM has a #UD ready for those it fails at: it goes to the guest only if the VMM lets it. */
int apf_x86_emulation_failed(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs s;
	struct kvm_regs regs;
	int r;

	if (v->run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return TO_CALLER;
	r = apf_x86_need_instruction(v);
	if (!r)
		r = apf_x86_regs(v, &regs, &s);
	if (r)
		return r;
	return apf_x86_may_run_again(v, regs.rip) ? apf_x86_run_again(v) : TO_CALLER;
}
