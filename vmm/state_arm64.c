/* SPDX-License-Identifier: MIT */
/*
 * Registers of one vCPU, from and to a snapshot: all that KVM lists, in its order. Some
 * only say what the processor is; KVM does not take them, which is no loss if they
 * have that value already. The counters belong to the VM and go on from vCPU 0's,
 * as the last step.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "boot.h"
#include "regs_arm64.h"
#include "state_arm64.h"

#define REGS_MAX	4096u	/* far more than KVM lists */
#define VALUE_MAX	256u	/* bytes */
#define CORE(field)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(field))

static int get_reg(const struct vmm_vcpu *v, uint64_t id, void *value)
{
	const struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)value };

	return ioctl(v->fd, KVM_GET_ONE_REG, &r) < 0 ? -errno : 0;
}

static int put_reg(const struct vmm_vcpu *v, uint64_t id, const void *value)
{
	const struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)value };

	return ioctl(v->fd, KVM_SET_ONE_REG, &r) < 0 ? -errno : 0;
}

int vmm_machine_boot_vcpu(struct vmm_vcpu *v, const struct vmm_boot_entry *entry)
{
	int err = put_reg(v, CORE(regs.pc), &entry->pc);

	if (!err)
		err = put_reg(v, CORE(regs.regs[0]), &entry->info);
	return err ? apf_error_set(err, "vmm: cannot set vCPU %u to its entry: %s", v->id,
				   strerror(-err)) : 0;
}

/* The counter runs on during a pause, and a guest has no way to be told. */
void vmm_machine_resume_vcpu(struct vmm_vcpu *v)
{
}

static struct kvm_reg_list *reg_list(const struct vmm_vcpu *v)
{
	struct kvm_reg_list probe = { 0 }, *l;

	ioctl(v->fd, KVM_GET_REG_LIST, &probe);		/* E2BIG, and says how many */
	if (!probe.n || probe.n > REGS_MAX)
		return NULL;
	l = calloc(1, sizeof(*l) + probe.n * sizeof(l->reg[0]));
	if (!l)
		return NULL;
	l->n = probe.n;
	if (ioctl(v->fd, KVM_GET_REG_LIST, l) < 0) {
		free(l);
		return NULL;
	}
	return l;
}

static size_t record_size(uint64_t id)
{
	return sizeof(id) + ((vmm_reg_size(id) + 7) & ~7ull);
}

static int save_regs(const struct vmm_vcpu *v, const struct kvm_reg_list *l,
		     struct vmm_snapshot_writer *w)
{
	size_t len = 0;
	uint8_t *at;

	for (uint64_t i = 0; i < l->n; i++)
		len += record_size(l->reg[i]);
	at = vmm_snapshot_add(w, VMM_SEC_ONE_REGS, v->id, NULL, len);
	if (!at)
		return -ENOMEM;
	for (uint64_t i = 0; i < l->n; i++) {
		int err = get_reg(v, l->reg[i], at + sizeof(l->reg[i]));

		if (err)
			return apf_error_set(err, "vmm: vCPU %u: KVM does not give register 0x%llx: %s",
					     v->id, (unsigned long long)l->reg[i], strerror(-err));
		memcpy(at, &l->reg[i], sizeof(l->reg[i]));
		at += record_size(l->reg[i]);
	}
	return 0;
}

int vmm_machine_save_vcpu(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	struct kvm_reg_list *l = reg_list(v);
	int err = l ? save_regs(v, l, w)
		  : apf_error_set(-ENOMEM, "vmm: vCPU %u: cannot list its registers", v->id);

	free(l);
	return err ? err : vmm_gic_save_vcpu(v, w);
}

/* A system register's name as assemblers take it; of others the number. */
static const char *name_of(uint64_t id, char *text, size_t size)
{
	const unsigned int r = id & 0xffff;

	if ((id & KVM_REG_ARM_COPROC_MASK) == KVM_REG_ARM64_SYSREG)
		snprintf(text, size, "S%u_%u_C%u_C%u_%u", r >> 14, r >> 11 & 7, r >> 7 & 15, r >> 3 & 15,
			 r & 7);
	else
		snprintf(text, size, "0x%llx", (unsigned long long)id);
	return text;
}

/* KVM has refused a register: it may have that value all the same. */
static int check_refused(const struct vmm_vcpu *v, const struct vmm_reg *r, int err)
{
	uint8_t have[VALUE_MAX] = { 0 };
	uint64_t want = 0, is = 0;
	char name[32];

	if (get_reg(v, r->id, have))
		return apf_error_set(-EINVAL, "snapshot: vCPU %u: this host's KVM has no register %s",
				     v->id, name_of(r->id, name, sizeof(name)));
	if (!memcmp(have, r->value, r->size))
		return 0;
	memcpy(&want, r->value, r->size < sizeof(want) ? r->size : sizeof(want));
	memcpy(&is, have, sizeof(is));
	return apf_error_set(-EINVAL, "snapshot: vCPU %u: register %s was 0x%llx, this host has 0x%llx "
			     "and KVM does not change it (%s): another kind of processor, or another "
			     "kernel", v->id, name_of(r->id, name, sizeof(name)),
			     (unsigned long long)want, (unsigned long long)is, strerror(-err));
}

static bool is_counter(uint64_t id)
{
	return id == KVM_REG_ARM_TIMER_CNT || id == KVM_REG_ARM_PTIMER_CNT;
}

static int load_regs(struct vmm_vcpu *v, const struct vmm_snapshot *s, bool counters)
{
	struct vmm_reg r;
	size_t pos = 0;
	int more, err;

	while ((more = vmm_regs_next(&s->sec[VMM_SEC_ONE_REGS][v->id], &pos, &r)) > 0) {
		if (is_counter(r.id) != counters)
			continue;
		err = put_reg(v, r.id, r.value);
		if (err)
			err = check_refused(v, &r, err);
		if (err)
			return err;
	}
	return more;
}

int vmm_machine_load_vcpu(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	int err = load_regs(v, s, false);

	return err ? err : vmm_gic_load_vcpu(v, s);
}

int vmm_machine_load_clock(struct vmm *vm, const struct vmm_snapshot *s)
{
	return load_regs(&vm->vcpus[0], s, true);
}
