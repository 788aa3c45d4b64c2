/* SPDX-License-Identifier: MIT */
/*
 * x86: the guest's accesses to MSRs that the filter brings here, and the registers of
 * KVM's own APF (mode kernel).
 */
#include <errno.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"
#include "kvm/x86/x86.h"

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
		if (len && apf_gpa_is_ram(k, gpa, len))
			apf_page_want(k, apf_page_at(k, gpa));
	}
	for (uint32_t i = 0; i < msrs->nmsrs && !err; i++) {
		gpa = msr_target(msrs->entries[i].index, msrs->entries[i].data, &len);
		if (len)
			err = apf_gpa_need(k, gpa, len);
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

/* 0, or an error that is the guest's #GP. */
static int control_write(struct apf_kvm_vcpu *v, uint32_t index, uint64_t value)
{
	unsigned int out = 0;
	int err;

	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_control_write(v->engine, index, value, &out);
	apf_link_act(v, out);
	pthread_mutex_unlock(&v->lock);
	return err;
}

/*
 * KVM_SET_MSRS is the host's word, for which KVM skips what it checks for a guest: bits that the
 * vCPU's CPUID does not have, and a change of LME under paging.
 */
static bool efer_is_valid(const struct x86_features *has, const struct kvm_sregs *now,
			  uint64_t value)
{
	const uint64_t forbidden = (has->nx ? 0 : EFER_NX) | (has->lm ? 0 : EFER_LME | EFER_LMA) |
				   (has->svm ? 0 : EFER_SVME) | (has->ffxsr ? 0 : EFER_FFXSR) |
				   (has->auto_ibrs ? 0 : EFER_AUTOIBRS);

	return !(value & forbidden) && !((now->cr0 & CR0_PG) && ((now->efer ^ value) & EFER_LME));
}

static int efer_write(struct apf_kvm_vcpu *v, uint64_t value)
{
	struct x86_features has;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int err = apf_x86_regs(v, &regs, &sregs);

	if (!err)
		err = apf_x86_features(v, &has);
	if (!err && !efer_is_valid(&has, &sregs, value))
		err = -EINVAL;
	if (!err && !(sregs.cr0 & CR0_PG))
		apf_kvm_vcpu_reset(v);
	return err ? err : set_msr(v, MSR_EFER_INDEX, value);
}

/* What must be there before this write takes effect: our area, or where KVM will write. */
static uint64_t written_area(uint32_t index, uint64_t value, uint64_t *len)
{
	if (index != APF_MSR_EN)
		return msr_target(index, value, len);
	*len = value & APF_EN_ENABLED ? APF_AREA_SIZE : 0;
	return value & APF_EN_ADDR_MASK;
}

static bool is_ours(uint32_t index)
{
	uint64_t len;

	msr_target(index, 1, &len);
	return len || index == MSR_EFER_INDEX || apf_kvm_owns_msr(index);
}

/* A page that is lost is the guest's loss, not the VM's end. */
static int wrmsr(struct apf_kvm_vcpu *v)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = v->run->msr.data, len, area = written_area(index, value, &len);
	int err;

	if (!is_ours(index))
		return TO_CALLER;
	if (len && apf_run_need(v, area, len) == -EINTR)
		return -EINTR;
	if (apf_kvm_owns_msr(index))
		err = control_write(v, index, value);
	else if (index == MSR_EFER_INDEX)
		err = efer_write(v, value);
	else
		err = set_msr(v, index, value);
	v->run->msr.error = err != 0;
	return GO_ON;
}

static int rdmsr(struct apf_kvm_vcpu *v)
{
	uint64_t value = 0;
	int err;

	if (!apf_kvm_owns_msr(v->run->msr.index))
		return TO_CALLER;
	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_control_read(v->engine, v->run->msr.index, &value);
	pthread_mutex_unlock(&v->lock);
	v->run->msr.data = value;
	v->run->msr.error = err != 0;
	return GO_ON;
}

int apf_x86_msr_exit(struct apf_kvm_vcpu *v)
{
	if (v->run->msr.reason != KVM_MSR_EXIT_REASON_FILTER)
		return TO_CALLER;
	return v->run->exit_reason == KVM_EXIT_X86_WRMSR ? wrmsr(v) : rdmsr(v);
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
	if (err)
		apf_error_set(err, "vcpu %u: cannot read the guest's APF registers from KVM", v->id);
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

const struct kernel_controls apf_x86_kernel_controls = {
	.get = kernel_controls_get,
	.set = kernel_controls_set,
};
