/* SPDX-License-Identifier: MIT */
/*
 * The arm64 machine around the processors: interrupt controller and timers (KVM's),
 * PSCI (KVM's), a serial port, and a register that ends a test.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "boot_arm64.h"
#include "machine_arm64.h"
#include "state_arm64.h"

const struct vmm_machine vmm_machine = {
	.kind = VMM_ARM64,
	.abi = APF_ABI_ARM64,
	.cpus_max = ARM64_CPUS_MAX,
	.ram = { .start = GPA_RAM, .low_max = UINT64_MAX },
};

#define IPA_BITS	40	/* of guest-physical addresses, what type 0 means */

/* Some processors have fewer, and must be told that they are enough. */
unsigned long vmm_machine_vm_type(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits > 0 && bits < IPA_BITS ? KVM_VM_TYPE_ARM_IPA_SIZE(bits) : 0;
}

int vmm_machine_init(struct vmm *vm)
{
	return vmm_gic_create(vm);
}

/* As KVM likes it best here, but without SVE, pointer authentication and counters. */
int vmm_machine_init_vcpu(struct vmm_vcpu *v)
{
	struct kvm_vcpu_init init;

	if (ioctl(v->vm->vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return apf_error_set(-errno, "vmm: KVM_ARM_PREFERRED_TARGET: %s", strerror(errno));
	memset(init.features, 0, sizeof(init.features));
	init.features[0] = 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (v->id)	/* until the guest calls CPU_ON */
		init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(v->fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return apf_error_set(-errno, "vmm: KVM_ARM_VCPU_INIT of vCPU %u: %s", v->id,
				     strerror(errno));
	return 0;
}

int vmm_machine_complete(struct vmm *vm)
{
	return vmm_gic_init(vm);
}

void vmm_machine_serial_irq(void *ctx, bool level)
{
	struct vmm *vm = ctx;
	struct kvm_irq_level line = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (GIC_FIRST_SPI + SERIAL_SPI),
		.level = level,
	};

	ioctl(vm->vm_fd, KVM_IRQ_LINE, &line);
}

int vmm_machine_load_kernel(const struct vmm_ram *ram, struct vmm_boot_args *args,
			    struct vmm_boot_entry *out)
{
	if (!args->cmdline)
		args->cmdline = "console=ttyS0";	/* what Linux calls our serial port */
	return vmm_arm64_load(ram, args, out);
}

static void write_device(struct vmm *vm, uint64_t gpa, const uint8_t *data, size_t len)
{
	vmm_note_output(vm);
	if (gpa - GPA_SERIAL < SERIAL_REGS)
		vmm_serial_write(&vm->serial, (unsigned int)(gpa - GPA_SERIAL), data[0]);
	else if (gpa == GPA_DEBUG_EXIT)
		vmm_write_debug_exit(vm, data, len);
}

/* Elsewhere is nothing, which reads as zero. */
static void read_device(struct vmm *vm, uint64_t gpa, uint8_t *data, size_t len)
{
	memset(data, 0, len);
	if (gpa - GPA_SERIAL < SERIAL_REGS)
		data[0] = vmm_serial_read(&vm->serial, (unsigned int)(gpa - GPA_SERIAL));
}

bool vmm_machine_exit(struct vmm_vcpu *v)
{
	struct kvm_run *run = v->run;

	if (run->exit_reason != KVM_EXIT_MMIO)
		return false;
	if (vmm_mmio_of_ram(v, run->mmio.phys_addr))
		return true;
	if (run->mmio.is_write)
		write_device(v->vm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		read_device(v->vm, run->mmio.phys_addr, run->mmio.data, sizeof(run->mmio.data));
	return true;
}

int vmm_machine_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	return vmm_gic_save(vm, w);
}

int vmm_machine_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	return vmm_gic_load(vm, s);
}
