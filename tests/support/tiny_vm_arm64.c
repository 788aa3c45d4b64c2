/* SPDX-License-Identifier: MIT */
/*
 * The test's virtual machine on arm64: RAM and devices are mapped one to one for the
 * kernel; user mode has RAM once more, USER higher. GICv3, PSCI.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <abi/apf_abi_arm64.h>

#include "tiny_vm.h"

#define TABLE		0x1000u
#define DEVICES		0x09000000u
#define USER		0x40000000u
#define GIC_DIST	0x08000000u
#define GIC_REDIST	0x080a0000u

#define BLOCK		(1ull << 0 | 1ull << 10)	/* access flag */
#define NORMAL		(1ull << 2 | 3ull << 8)		/* attribute 1, inner shareable */
#define USER_TOO	(1ull << 6)
#define NO_EXEC		(3ull << 53)			/* at neither level */
#define NO_EXEC_EL1	(1ull << 53)
#define NO_EXEC_EL0	(1ull << 54)

#define X_REG(n)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 (KVM_REG_ARM_CORE_REG(regs.regs[0]) + 2 * (n)))
#define PC_REG		(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(regs.pc))

extern const uint8_t guest_start[], guest_end[];

const uint64_t machine_ram = 0x40000000;
const uint32_t machine_halted = KVM_MP_STATE_SUSPENDED;

/* One table of 1 GiB blocks. */
void machine_image(uint8_t *image)
{
	uint64_t *table = (uint64_t *)(image + TABLE);

	table[0] = BLOCK | USER_TOO | NO_EXEC;
	table[1] = machine_ram | BLOCK | NORMAL | NO_EXEC_EL0;
	table[2] = machine_ram | BLOCK | NORMAL | USER_TOO | NO_EXEC_EL1;
	memcpy(image + CODE, guest_start, (size_t)(guest_end - guest_start));
}

void machine_create(struct vm *vm)
{
}

static void gic_set(int gic, uint32_t group, uint64_t attr, const void *value)
{
	struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };

	assert_int_equal(ioctl(gic, KVM_SET_DEVICE_ATTR, &a), 0);
}

void machine_start(struct vm *vm)
{
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	const uint64_t dist = GIC_DIST, redist = GIC_REDIST;
	const uint32_t irqs = 64;

	assert_int_equal(ioctl(vm->fd, KVM_CREATE_DEVICE, &gic), 0);
	gic_set((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	gic_set((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist);
	gic_set((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs);
	gic_set((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	close((int)gic.fd);
}

static void set_reg(struct vm *vm, uint64_t id, uint64_t value)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)&value };

	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_ONE_REG, &r), 0);
}

void machine_vcpu(struct vm *vm)
{
	const bool user = vm->o.scenario != KERNEL_READS && vm->o.scenario != KERNEL_READS_IRQS_OFF;
	const uint64_t x[] = {
		vm->o.scenario,
		machine_ram + vm->o.first + (user ? USER : 0),
		vm->o.pages,
		(uint64_t)sysconf(_SC_PAGESIZE),
		vm->o.enable ? vm->o.enable : APF_ARM64_ENABLED | APF_ARM64_INT,
	};
	struct kvm_vcpu_init init;

	assert_int_equal(ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init), 0);
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (vm->id && vm->o.others_off)
		init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_ARM_VCPU_INIT, &init), 0);
	for (unsigned int i = 0; i < sizeof(x) / sizeof(*x); i++)
		set_reg(vm, X_REG(i), x[i]);
	set_reg(vm, PC_REG, machine_ram + CODE);
}

unsigned int machine_events(const struct vm *vm, struct event *e)
{
	const struct kvm_run *run = vm->run;

	if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write || run->mmio.len != 4 ||
	    run->mmio.phys_addr >> 12 != DEVICES >> 12)
		fail_msg("exit reason %u, 0x%llx", run->exit_reason,
			 (unsigned long long)run->mmio.phys_addr);
	e->what = run->mmio.phys_addr & 0xfff;
	memcpy(&e->value, run->mmio.data, 4);
	return 1;
}

bool machine_usable(const struct apf_kvm_probe *p)
{
	return p->smccc_filter && p->ext_dabt && p->suspend;
}
