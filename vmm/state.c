/* SPDX-License-Identifier: MIT */
/*
 * State of one vCPU, from and to a snapshot: what every machine has. The order of
 * loading matters: setting registers clears a pending exception, so events come after
 * them; mp_state comes last, and libapf's own state when all vCPUs are loaded.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "internal.h"

_Static_assert(sizeof(struct kvm_vcpu_events) == VMM_SIZE_EVENTS &&
	       sizeof(struct kvm_mp_state) == VMM_SIZE_MP_STATE, "the layout of files is ABI");

static const struct vmm_piece events_piece = { VMM_SEC_EVENTS, KVM_GET_VCPU_EVENTS,
					       KVM_SET_VCPU_EVENTS, VMM_SIZE_EVENTS };
static const struct vmm_piece mp_piece = { VMM_SEC_MP_STATE, KVM_GET_MP_STATE, KVM_SET_MP_STATE,
					   VMM_SIZE_MP_STATE };

int vmm_state_failed(const struct vmm_vcpu *v, const char *what, enum vmm_section section)
{
	int err = errno;

	return apf_error_set(-err, "vmm: vCPU %u: KVM does not %s its %s: %s", v->id, what,
			     vmm_section_name(section), strerror(err));
}

int vmm_piece_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w, const struct vmm_piece *p)
{
	void *at = vmm_snapshot_add(w, p->section, v->id, NULL, p->size);

	if (!at)
		return -ENOMEM;
	return ioctl(v->fd, p->get, at) < 0 ? vmm_state_failed(v, "give", p->section) : 0;
}

int vmm_piece_load(struct vmm_vcpu *v, const struct vmm_snapshot *s, const struct vmm_piece *p)
{
	const struct vmm_bytes *b = &s->sec[p->section][v->id];

	if (!b->data)
		return 0;
	return ioctl(v->fd, p->set, b->data) < 0 ? vmm_state_failed(v, "take", p->section) : 0;
}

/* libapf's bytes, and the mp_state as it must be stored (C16). */
static int save_apf(struct vmm_vcpu *v, struct vmm_snapshot_writer *w, struct kvm_mp_state *mp)
{
	size_t size = apf_kvm_vcpu_save(v->apf, NULL, 0, &mp->mp_state);
	void *at;

	if (!size)
		return -EBUSY;
	at = vmm_snapshot_add(w, VMM_SEC_APF, v->id, NULL, size);
	if (!at)
		return -ENOMEM;
	if (apf_kvm_vcpu_save(v->apf, at, size, &mp->mp_state) != size)
		return apf_error_set(-EAGAIN, "vmm: vCPU %u: APF state changes while saved", v->id);
	vmm_snapshot_add(w, VMM_SEC_MP_STATE, v->id, mp, sizeof(*mp));
	return 0;
}

int vmm_vcpu_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	struct kvm_mp_state mp;
	int err;

	/* First: KVM lets an INIT or SIPI that waits take effect in this call. */
	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return vmm_state_failed(v, "give", VMM_SEC_MP_STATE);
	err = save_apf(v, w, &mp);
	if (!err)
		err = vmm_machine_save_vcpu(v, w);
	return err ? err : vmm_piece_save(v, w, &events_piece);
}

int vmm_vcpu_load(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	int err = vmm_machine_load_vcpu(v, s);

	if (!err)
		err = vmm_piece_load(v, s, &events_piece);
	return err ? err : vmm_piece_load(v, s, &mp_piece);
}

int vmm_vcpu_load_apf(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	const struct vmm_bytes *b = &s->sec[VMM_SEC_APF][v->id];

	return apf_kvm_vcpu_load(v->apf, b->data, b->len, (enum apf_delivery)s->vm.delivery);
}
