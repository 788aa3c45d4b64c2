/* SPDX-License-Identifier: MIT */
/*
 * x86: one vCPU's state at a fault, the injection of #PF, the ready interrupt, and
 * the guest's MSR accesses.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"
#include "kvm/compat.h"
#include "kvm/x86/x86.h"

#define RFLAGS_IF	(1ull << 9)
#define PF_VECTOR	14
#define MSI_ADDRESS	0xfee00000u

const uint32_t arch_halted = KVM_MP_STATE_HALTED;

int arch_vcpu_init(struct apf_kvm_vcpu *v)
{
	if (v->id >= 255 && !v->k->cfg.x2apic_ids)
		return apf_error_set(-EINVAL, "kvm: vCPU id %u needs KVM_CAP_X2APIC_API", v->id);
	if (v->k->sync_regs)
		v->run->kvm_valid_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS |
					  KVM_SYNC_X86_EVENTS;
	return 0;
}

int x86_regs(struct apf_kvm_vcpu *v, struct kvm_regs *regs, struct kvm_sregs *sregs)
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

/* The events as of the last exit, in the place from which arch_inject sends them back. */
static int get_events(struct apf_kvm_vcpu *v, struct kvm_vcpu_events *buf,
		      struct kvm_vcpu_events **ev)
{
	*ev = v->k->sync_regs ? &v->run->s.regs.events : buf;
	if (!v->k->sync_regs && ioctl(v->fd, KVM_GET_VCPU_EVENTS, buf) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_GET_VCPU_EVENTS: %s", v->id,
				     strerror(errno));
	return 0;
}

int arch_fault(struct apf_kvm_vcpu *v, struct apf_fault *f, uint64_t *pc)
{
	struct kvm_vcpu_events buf, *ev;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int err = x86_regs(v, &regs, &sregs);

	if (!err)
		err = get_events(v, &buf, &ev);
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

int arch_pc(struct apf_kvm_vcpu *v, uint64_t *pc)
{
	struct kvm_regs regs;

	if (ioctl(v->fd, KVM_GET_REGS, &regs) < 0)
		return -errno;
	*pc = regs.rip;
	return 0;
}

/*
 * Only the exception changes. The interrupt and NMI fields are always taken by
 * KVM, so they go back as they were read; nothing else is marked valid.
 */
int arch_inject(struct apf_kvm_vcpu *v, uint32_t token)
{
	struct kvm_vcpu_events buf, *ev;
	int err = get_events(v, &buf, &ev);

	if (err)
		return err;
	ev->flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	ev->exception.pending = 1;
	ev->exception.injected = 0;
	ev->exception.nr = PF_VECTOR;
	ev->exception.has_error_code = 1;
	ev->exception.error_code = 0;
	ev->exception_has_payload = 1;
	ev->exception_payload = token;
	if (v->k->sync_regs)
		v->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	else if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, ev) < 0)
		return -errno;
	return 0;
}

/* EPERM: no local APIC takes interrupts yet; the same to us as a blocked one (N6). */
int arch_raise(struct apf_kvm_vcpu *v, uint8_t vector)
{
	struct kvm_msi msi = {
		.address_lo = MSI_ADDRESS | (v->id & 0xff) << 12,
		.address_hi = v->id & ~0xffu,
		.data = vector,
	};

	return ioctl(v->k->cfg.vm_fd, KVM_SIGNAL_MSI, &msi) > 0;
}

/* A message has no line that would stay up. */
void arch_lower(struct apf_kvm_vcpu *v, uint8_t vector)
{
}

/* Where KVM writes on behalf of this MSR value; len 0: nowhere. */
static uint64_t msr_target(uint32_t index, uint64_t value, uint64_t *len)
{
	*len = 0;
	switch (index) {
	case MSR_WALL_CLOCK:
	case MSR_WALL_CLOCK_OLD:
		*len = value ? 12 : 0;
		return value;
	case MSR_SYSTEM_TIME:
	case MSR_SYSTEM_TIME_OLD:
		*len = value & 1 ? 32 : 0;
		return value & ~1ull;
	case MSR_STEAL_TIME:
		*len = value & 1 ? 64 : 0;
		return value & ~63ull;
	case MSR_PV_EOI:
		*len = value & 1 ? 4 : 0;
		return value & ~3ull;
	}
	return 0;
}

int apf_kvm_need_msrs(struct apf_kvm *k, const struct kvm_msrs *msrs)
{
	uint64_t len, gpa;
	int err = 0;

	for (uint32_t i = 0; i < msrs->nmsrs; i++) {	/* ask for all before waiting for one */
		gpa = msr_target(msrs->entries[i].index, msrs->entries[i].data, &len);
		if (len && gpa_is_ram(k, gpa, len))
			apf_mem_want(k->cfg.mem, gpa_to_page(k, gpa));
	}
	for (uint32_t i = 0; i < msrs->nmsrs && !err; i++) {
		gpa = msr_target(msrs->entries[i].index, msrs->entries[i].data, &len);
		if (len)
			err = gpa_need(k, gpa, len);
	}
	return err;
}

union one_msr {
	struct kvm_msrs head;
	uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

static int set_msr(struct apf_kvm_vcpu *v, uint32_t index, uint64_t value)
{
	union one_msr m = { .head.nmsrs = 1 };

	m.head.entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EINVAL;
}

static int get_msr(struct apf_kvm_vcpu *v, uint32_t index, uint64_t *value)
{
	union one_msr m = { .head.nmsrs = 1 };

	m.head.entries[0].index = index;
	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return -EINVAL;
	*value = m.head.entries[0].data;
	return 0;
}

/* The area must be there before the guest relies on notifications; waits for it. */
static int control_write(struct apf_kvm_vcpu *v, uint32_t index, uint64_t value)
{
	unsigned int out = 0;
	int err;

	if (index == APF_MSR_EN && (value & APF_EN_ENABLED))
		gpa_need(v->k, value & APF_EN_ADDR_MASK, APF_AREA_SIZE);
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_control_write(v->engine, index, value, &out);
	act_on(v, out);
	pthread_mutex_unlock(&v->lock);
	return err;
}

static int clock_write(struct apf_kvm_vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t len, gpa = msr_target(index, value, &len);

	if (len)
		gpa_need(v->k, gpa, len);
	return set_msr(v, index, value);
}

static int efer_write(struct apf_kvm_vcpu *v, uint64_t value)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int err = x86_regs(v, &regs, &sregs);

	if (!err && !(sregs.cr0 & CR0_PG))
		apf_kvm_vcpu_reset(v);
	return err ? err : set_msr(v, MSR_EFER_INDEX, value);
}

static int wrmsr(struct apf_kvm_vcpu *v)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = v->run->msr.data, len;
	int err;

	if (apf_kvm_owns_msr(index))
		err = control_write(v, index, value);
	else if (index == MSR_EFER_INDEX)
		err = efer_write(v, value);
	else if (msr_target(index, 1, &len), len)
		err = clock_write(v, index, value);
	else
		return 0;
	v->run->msr.error = err != 0;
	return 1;
}

static int rdmsr(struct apf_kvm_vcpu *v)
{
	uint64_t value = 0;
	int err;

	if (!apf_kvm_owns_msr(v->run->msr.index))
		return 0;
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_control_read(v->engine, v->run->msr.index, &value);
	pthread_mutex_unlock(&v->lock);
	v->run->msr.data = value;
	v->run->msr.error = err != 0;
	return 1;
}

/* In mode kernel there is no MSR filter, and what the emulator meets are lost pages. */
int arch_exit(struct apf_kvm_vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_X86_WRMSR:
		return v->run->msr.reason == KVM_MSR_EXIT_REASON_FILTER ? wrmsr(v) : 0;
	case KVM_EXIT_X86_RDMSR:
		return v->run->msr.reason == KVM_MSR_EXIT_REASON_FILTER ? rdmsr(v) : 0;
	case KVM_EXIT_MMIO:
		return x86_mmio(v);
	case KVM_EXIT_INTERNAL_ERROR:
		return x86_emulation_failed(v);
	}
	return 0;
}

int arch_pin(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs sregs;
	int err = 0;

	if (apf_vcpu_enabled(v->engine))
		err = gpa_need(v->k, apf_vcpu_area(v->engine), APF_AREA_SIZE);
	if (!err && ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		err = -errno;
	if (!err && (sregs.cr0 & CR0_PG) && (sregs.cr4 & CR4_PAE) && !(sregs.efer & EFER_LMA))
		err = gpa_need(v->k, sregs.cr3 & ~31ull, 32);
	return err;
}

static int kernel_controls_get(struct apf_kvm_vcpu *v)
{
	uint64_t en, vector;
	int err = get_msr(v, APF_MSR_EN, &en);

	if (!err)
		err = get_msr(v, APF_MSR_INT, &vector);
	if (!err)
		err = apf_vcpu_control_write(v->engine, APF_MSR_INT, vector, NULL);
	if (!err)
		err = apf_vcpu_control_write(v->engine, APF_MSR_EN, en, NULL);
	return err;
}

static int kernel_controls_set(struct apf_kvm_vcpu *v)
{
	uint64_t en = 0, vector = 0;
	int err = apf_vcpu_control_read(v->engine, APF_MSR_EN, &en);

	if (!err)
		err = apf_vcpu_control_read(v->engine, APF_MSR_INT, &vector);
	if (!err)
		err = set_msr(v, APF_MSR_INT, vector);
	if (!err && en)
		err = set_msr(v, APF_MSR_EN, en);
	if (err)
		apf_error_set(err, "vcpu %u: KVM refuses the guest's APF registers (0x%llx, vector "
			      "0x%llx): does this host have in-kernel APF?", v->id,
			      (unsigned long long)en, (unsigned long long)vector);
	return err;
}

const struct kernel_controls x86_kernel_controls = {
	.get = kernel_controls_get,
	.set = kernel_controls_set,
};
