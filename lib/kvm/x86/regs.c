/* SPDX-License-Identifier: MIT */
/* x86: one vCPU's state at a fault, the injection of #PF, the ready interrupt, exits. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/compat.h"
#include "kvm/x86/x86.h"

#define RFLAGS_IF	(1ull << 9)
#define PF_VECTOR	14
#define MSI_ADDRESS	0xfee00000u

const uint32_t apf_arch_halted = KVM_MP_STATE_HALTED;

/* C14: NP must be held back while a nested guest runs, so KVM has to tell. */
static int check_nesting(struct apf_kvm_vcpu *v)
{
	struct x86_features has;
	int err;

	if (v->k->tells_nested || v->k->cfg.delivery != APF_DELIVERY_USER)
		return 0;
	err = apf_x86_features(v, &has);
	if (!err && (has.vmx || has.svm))
		err = apf_error_set(-EOPNOTSUPP, "kvm: vCPU %u has %s in its CPUID, but this host's KVM "
				    "does not tell when a nested guest runs (KVM_CAP_X86_GUEST_MODE): "
				    "give its CPUID to apf_kvm_cpuid, or use delivery \"sync\"", v->id,
				    has.vmx ? "VMX" : "SVM");
	return err;
}

int apf_arch_vcpu_init(struct apf_kvm_vcpu *v)
{
	int err = check_nesting(v);

	if (err)
		return err;
	if (v->id >= 255 && !v->k->cfg.x2apic_ids)
		return apf_error_set(-EINVAL, "kvm: vCPU id %u needs KVM_CAP_X2APIC_API", v->id);
	if (v->k->sync_regs)
		v->run->kvm_valid_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS |
					  KVM_SYNC_X86_EVENTS;
	return 0;
}

int apf_x86_regs(struct apf_kvm_vcpu *v, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	if (v->k->sync_regs) {
		*regs = v->run->s.regs.regs;
		*sregs = v->run->s.regs.sregs;
		return 0;
	}
	if (ioctl(v->fd, KVM_GET_REGS, regs) < 0 || ioctl(v->fd, KVM_GET_SREGS, sregs) < 0)
		return apf_error_set(-errno, "vcpu %u: cannot read registers: %s", v->id,
				     strerror(errno));
	return 0;
}

/* The events as of the last exit, in the place from which apf_x86_set_exception sends them back. */
int apf_x86_events(struct apf_kvm_vcpu *v, struct kvm_vcpu_events *buf,
		   struct kvm_vcpu_events **ev)
{
	*ev = v->k->sync_regs ? &v->run->s.regs.events : buf;
	if (!v->k->sync_regs && ioctl(v->fd, KVM_GET_VCPU_EVENTS, buf) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_GET_VCPU_EVENTS: %s", v->id,
				     strerror(errno));
	return 0;
}

/*
 * Only the exception changes. The interrupt and NMI fields are always taken by
 * KVM, so they go back as they were read; nothing else is marked valid.
 */
int apf_x86_set_exception(struct apf_kvm_vcpu *v, struct kvm_vcpu_events *ev)
{
	ev->flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	if (v->k->sync_regs)
		v->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	else if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, ev) < 0)
		return -errno;
	return 0;
}

int apf_arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc)
{
	struct kvm_vcpu_events buf, *ev;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int err = apf_x86_regs(v, &regs, &sregs);

	if (!err)
		err = apf_x86_events(v, &buf, &ev);
	if (err)
		return err;
	*pc = regs.rip;
	f->user = sregs.ss.dpl != 0;
	f->irqs_on = regs.rflags & RFLAGS_IF;
	f->irq_shadow = ev->interrupt.shadow;
	f->event = ev->exception.pending || ev->exception.injected || ev->interrupt.injected ||
		   ev->nmi.pending || ev->nmi.injected || ev->smi.pending;
	f->paging = sregs.cr0 & CR0_PG;
	f->smm = ev->smi.smm;
	f->nested = v->run->flags & KVM_RUN_X86_GUEST_MODE;
	return 0;
}

int apf_arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc)
{
	struct kvm_regs regs;

	if (ioctl(v->fd, KVM_GET_REGS, &regs) < 0)
		return -errno;
	*pc = regs.rip;
	return 0;
}

int apf_arch_inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	struct kvm_vcpu_events buf, *ev;
	int err = apf_x86_events(v, &buf, &ev);

	if (err)
		return err;
	ev->exception.pending = 1;
	ev->exception.injected = 0;
	ev->exception.nr = PF_VECTOR;
	ev->exception.has_error_code = 1;
	ev->exception.error_code = 0;
	ev->exception_has_payload = 1;
	ev->exception_payload = token;
	return apf_x86_set_exception(v, ev);
}

/* EPERM: no local APIC takes interrupts yet; the same to us as a blocked one (N6). */
int apf_arch_raise(struct apf_kvm_vcpu *v, uint8_t vector)
{
	struct kvm_msi msi = {
		.address_lo = MSI_ADDRESS | (v->id & 0xff) << 12,
		.address_hi = v->id & ~0xffu,
		.data = vector,
	};

	return ioctl(v->k->cfg.vm_fd, KVM_SIGNAL_MSI, &msi) > 0;
}

/* A message has no line that would stay up. */
void apf_arch_lower(struct apf_kvm_vcpu *v, uint8_t vector)
{
}

bool apf_arch_exit_ends_halt(const struct kvm_run *run)
{
	return false;			/* it happens inside KVM */
}

/* In mode kernel there is no MSR filter, and what the emulator meets are lost pages. */
int apf_arch_exit(struct apf_kvm_vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_X86_WRMSR:
	case KVM_EXIT_X86_RDMSR:
		return apf_x86_msr_exit(v);
	case KVM_EXIT_MMIO:
		return apf_x86_mmio(v);
	case KVM_EXIT_INTERNAL_ERROR:
		return apf_x86_emulation_failed(v);
	case KVM_EXIT_SHUTDOWN:
		return apf_x86_triple_fault(v);
	}
	return TO_CALLER;
}

uint64_t apf_x86_pdptes(const struct kvm_sregs *s)
{
	bool pae = (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);

	return pae ? s->cr3 & 0xffffffe0u : 0;
}

int apf_kvm_need_sregs(struct apf_kvm *k, const struct kvm_sregs *sregs)
{
	uint64_t at = apf_x86_pdptes(sregs);
	int err = at ? apf_gpa_need(k, at, PDPTES_SIZE) : 0;

	return err ? err : apf_x86_need_system(k, NULL, sregs);
}

int apf_arch_start(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs sregs;
	uint64_t at;
	int r = GO_ON;

	if (apf_vcpu_enabled(v->engine))
		r = apf_run_need(v, apf_vcpu_area(v->engine), APF_AREA_SIZE);
	if (r)
		return r;
	if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_GET_SREGS: %s", v->id, strerror(errno));
	at = apf_x86_pdptes(&sregs);
	if (at)
		r = apf_run_need(v, at, PDPTES_SIZE);
	return r ? r : apf_x86_need_stack(v, &sregs);
}
