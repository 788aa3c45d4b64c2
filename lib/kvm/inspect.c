/* SPDX-License-Identifier: MIT */
/* What a vCPU that does not get on is made of: for reports, not for the path of a fault. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>

#include "kvm/arch.h"

bool apf_kvm_vcpu_words(struct apf_kvm_vcpu *v, uint32_t *reason, uint32_t *token)
{
	bool enabled;
	uint64_t area;

	*reason = *token = 0;
	pthread_mutex_lock(&v->lock);
	enabled = apf_vcpu_enabled(v->engine);
	area = apf_vcpu_area(v->engine);
	pthread_mutex_unlock(&v->lock);
	return enabled && !apf_gpa_read(v->k, area + APF_AREA_REASON, reason, sizeof(*reason)) &&
	       !apf_gpa_read(v->k, area + APF_AREA_TOKEN, token, sizeof(*token));
}

int apf_kvm_vcpu_inspect(struct apf_kvm_vcpu *v, struct apf_kvm_vcpu_view *out)
{
	struct kvm_mp_state mp;
	struct apf_fault state;
	int err;

	*out = (struct apf_kvm_vcpu_view){ .irr = -1, .isr = -1 };
	pthread_mutex_lock(&v->lock);
	apf_vcpu_stats(v->engine, &out->engine);
	out->enabled = apf_vcpu_enabled(v->engine);
	out->area = apf_vcpu_area(v->engine);
	pthread_mutex_unlock(&v->lock);
	apf_kvm_vcpu_words(v, &out->reason, &out->token);
	err = apf_arch_fault(v, &state, &out->pc);
	if (err)
		return err;
	out->interrupts = state.irqs_on;
	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_GET_MP_STATE: %s", v->id, strerror(errno));
	out->mp_state = mp.mp_state;
	apf_arch_inspect(v, out);
	return 0;
}
