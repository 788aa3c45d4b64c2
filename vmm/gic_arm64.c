/* SPDX-License-Identifier: MIT */
/*
 * The interrupt controller: KVM's GICv3, without LPIs. All vCPUs stand still when it is
 * saved or loaded; it has no state but what is in its registers and on its lines.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "machine_arm64.h"
#include "regs_arm64.h"
#include "state_arm64.h"

_Static_assert(VMM_GIC_DIST == KVM_DEV_ARM_VGIC_GRP_DIST_REGS &&
	       VMM_GIC_REDIST == KVM_DEV_ARM_VGIC_GRP_REDIST_REGS &&
	       VMM_GIC_SYSREGS == KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS &&
	       VMM_GIC_LEVELS == KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, "groups are KVM's");
_Static_assert(VGIC_LEVEL_INFO_LINE_LEVEL == 0, "a line's register is its number");

#define REGS_MAX	512u	/* more than there are in all ranges */

static int set_attr(struct vmm *vm, uint32_t group, uint64_t attr, const void *value,
		    const char *what)
{
	const struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };

	if (ioctl(vm->gic_fd, KVM_SET_DEVICE_ATTR, &a) < 0)
		return apf_error_set(-errno, "vmm: interrupt controller: %s: %s", what, strerror(errno));
	return 0;
}

int vmm_gic_create(struct vmm *vm)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };

	if (ioctl(vm->vm_fd, KVM_CREATE_DEVICE, &create) < 0)
		return apf_error_set(-errno, "vmm: KVM has no GICv3 here: %s; a host with a GICv2 cannot "
				     "run this machine", strerror(errno));
	vm->gic_fd = (int)create.fd;
	return 0;
}

int vmm_gic_init(struct vmm *vm)
{
	const uint64_t gic = GPA_GIC, redist = GPA_REDIST;
	const uint32_t irqs = GIC_IRQS;
	int err = set_attr(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &gic,
			   "distributor's address");

	if (!err)
		err = set_attr(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist,
			       "redistributors' address");
	if (!err)
		err = set_attr(vm, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs, "number of interrupts");
	if (!err)
		err = set_attr(vm, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL,
			       "initialization");
	return err;
}

/* KVM wants the vCPU in the upper half; what is no vCPU's is vCPU 0's there. */
static struct kvm_device_attr attr_of(const struct vmm_gic_reg *r, unsigned int cpu, void *value)
{
	return (struct kvm_device_attr){ .group = r->group, .addr = (uintptr_t)value,
					 .attr = vmm_arm64_affinity(cpu) << 32 | r->reg };
}

/* KVM reads and writes 64 bits of a system register, 32 of the others. */
static int get_reg(struct vmm *vm, unsigned int cpu, struct vmm_gic_reg *r)
{
	const struct kvm_device_attr a = attr_of(r, cpu, &r->value);

	return ioctl(vm->gic_fd, KVM_GET_DEVICE_ATTR, &a) < 0 ? -errno : 0;
}

static int put_reg(struct vmm *vm, unsigned int cpu, struct vmm_gic_reg *r)
{
	const struct kvm_device_attr a = attr_of(r, cpu, &r->value);

	if (ioctl(vm->gic_fd, KVM_SET_DEVICE_ATTR, &a) == 0)
		return 0;
	return apf_error_set(-errno, "snapshot: interrupt controller of vCPU %u: KVM does not take 0x%llx "
			     "for register 0x%x of group %u: %s", cpu, (unsigned long long)r->value,
			     r->reg, r->group, strerror(errno));
}

/* All registers of a range; *n counts. */
static int get_range(struct vmm *vm, unsigned int cpu, const struct vmm_gic_range *g,
		     struct vmm_gic_reg *out, size_t *n)
{
	for (uint32_t i = 0; i < g->count; i++) {
		struct vmm_gic_reg *r = &out[*n];
		int err;

		*r = (struct vmm_gic_reg){ .group = g->group, .reg = g->first + i * g->step };
		err = get_reg(vm, cpu, r);
		if (err && !g->optional)
			return apf_error_set(err, "vmm: interrupt controller of vCPU %u: KVM does not give "
					     "register 0x%x of group %u: %s", cpu, r->reg, r->group,
					     strerror(-err));
		*n += !err;
	}
	return 0;
}

static int save(struct vmm *vm, unsigned int cpu, bool of_vcpu, struct vmm_snapshot_writer *w)
{
	struct vmm_gic_reg *regs = calloc(REGS_MAX, sizeof(*regs));
	size_t n = 0;
	int err = regs ? 0 : apf_error_set(-ENOMEM, "vmm: out of memory");

	for (unsigned int i = 0; !err && i < VMM_GIC_RANGES; i++)
		if (vmm_gic_ranges[i].of_vcpu == of_vcpu)
			err = get_range(vm, cpu, &vmm_gic_ranges[i], regs, &n);
	if (!err)
		vmm_snapshot_add(w, of_vcpu ? VMM_SEC_GIC_VCPU : VMM_SEC_GIC, of_vcpu ? cpu : 0, regs,
				 n * sizeof(*regs));
	free(regs);
	return err;
}

static int load(struct vmm *vm, unsigned int cpu, bool of_vcpu, const struct vmm_bytes *b)
{
	struct vmm_gic_reg r;
	size_t pos = 0;
	int more, err = 0;

	while (!err && (more = vmm_gic_next(b, &pos, of_vcpu, &r)))
		err = more < 0 ? more : put_reg(vm, cpu, &r);
	return err;
}

int vmm_gic_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	return save(vm, 0, false, w);
}

int vmm_gic_save_vcpu(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	return save(v->vm, v->id, true, w);
}

int vmm_gic_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	return load(vm, 0, false, &s->sec[VMM_SEC_GIC][0]);
}

int vmm_gic_load_vcpu(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	return load(v->vm, v->id, true, &s->sec[VMM_SEC_GIC_VCPU][v->id]);
}
