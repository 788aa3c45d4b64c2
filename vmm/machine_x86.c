/* SPDX-License-Identifier: MIT */
/*
 * The x86 machine around the processors: interrupt controllers and timer (KVM's),
 * a serial port, and the registers that power off, reset, and end a test.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "boot_linux.h"
#include "boot_multiboot.h"
#include "internal.h"
#include "machine_x86.h"
#include "state_x86.h"

const struct vmm_machine vmm_machine = {
	.kind = VMM_X86,
	.abi = APF_ABI_X86_INT,
	.kernel_delivery = true,
	.cpus_max = 254,	/* 8-bit APIC ids, 0xff is broadcast */
	.ram = { 0, RAM_LOW_MAX, RAM_HIGH_START },
};

_Static_assert(sizeof(struct kvm_clock_data) == VMM_SIZE_CLOCK &&
	       sizeof(struct kvm_irqchip) == VMM_SIZE_IRQCHIP &&
	       sizeof(struct kvm_pit_state2) == VMM_SIZE_PIT, "the layout of files is ABI");

static int call(int fd, unsigned long request, const void *arg, const char *name)
{
	if (ioctl(fd, request, arg) < 0)
		return apf_error_set(-errno, "vmm: %s: %s", name, strerror(errno));
	return 0;
}
#define CALL(fd, request, arg) call(fd, request, arg, #request)

unsigned long vmm_machine_vm_type(int kvm_fd)
{
	return 0;
}

int vmm_machine_init(struct vmm *vm)
{
	const uint64_t identity = GPA_KVM_IDENTITY;
	const struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	/* A pending exception then keeps its payload apart, in every mode, so files are alike. */
	const struct kvm_enable_cap payload = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };
	int err;

	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)GPA_KVM_TSS) < 0)
		return apf_error_set(-errno, "vmm: KVM_SET_TSS_ADDR: %s", strerror(errno));
	err = CALL(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (!err)
		err = CALL(vm->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (!err)
		err = CALL(vm->vm_fd, KVM_CREATE_PIT2, &pit);
	if (!err)
		err = CALL(vm->vm_fd, KVM_ENABLE_CAP, &payload);
	return err;
}

int vmm_machine_init_vcpu(struct vmm_vcpu *v)
{
	return vmm_cpuid_init(v);
}

/* All that KVM emulates of this machine is there before the first vCPU. */
int vmm_machine_complete(struct vmm *vm)
{
	return 0;
}

void vmm_machine_serial_irq(void *ctx, bool level)
{
	struct vmm *vm = ctx;
	struct kvm_irq_level line = { .irq = IRQ_SERIAL, .level = level };

	ioctl(vm->vm_fd, KVM_IRQ_LINE, &line);
}

/* Where a kernel's console is if nobody says: what Linux calls our serial port. */
static const char linux_cmdline[] = "console=ttyS0";

int vmm_machine_load_kernel(const struct vmm_ram *ram, struct vmm_boot_args *args,
			    struct vmm_boot_entry *out)
{
	const bool multiboot = vmm_multiboot_recognize(args->kernel, args->kernel_len);

	if (!args->cmdline)
		args->cmdline = multiboot ? "" : linux_cmdline;
	return multiboot ? vmm_multiboot_load(ram, args, out) : vmm_linux_load(ram, args, out);
}

static void port_out(struct vmm *vm, uint32_t port, uint8_t value)
{
	if (port - PORT_SERIAL < PORTS_SERIAL)
		vmm_serial_write(&vm->serial, port - PORT_SERIAL, value);
	else if (port == PORT_SLEEP_CONTROL && (value & SLEEP_ENABLE) &&
		 SLEEP_TYPE(value) == SLEEP_TYPE_S5)
		vmm_finish(vm, VMM_END_POWEROFF, "the guest powered off");
	else if ((port == PORT_RESET && value == RESET_VALUE) ||
		 (port == PORT_KEYBOARD && value == KEYBOARD_RESET))
		vmm_finish(vm, VMM_END_RESET, "the guest asked for a reset");
}

static uint8_t port_in(struct vmm *vm, uint32_t port)
{
	if (port - PORT_SERIAL < PORTS_SERIAL)
		return vmm_serial_read(&vm->serial, port - PORT_SERIAL);
	/* No sleep has ended; the keyboard controller takes commands. Elsewhere is nothing. */
	if (port == PORT_SLEEP_STATUS || port == PORT_KEYBOARD)
		return 0;
	return 0xff;
}

static void access_ports(struct vmm_vcpu *v)
{
	const struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	const bool out = run->io.direction == KVM_EXIT_IO_OUT;

	if (out)
		vmm_note_output(v->vm);
	if (out && run->io.port - PORT_DEBUG_EXIT < PORTS_DEBUG_EXIT) {
		vmm_write_debug_exit(v->vm, data, run->io.size);
		return;
	}
	for (uint32_t i = 0; i < run->io.count; i++) {
		/* A wide access reaches the ports from this one on. */
		for (uint32_t b = 0; b < run->io.size; b++, data++) {
			if (out)
				port_out(v->vm, run->io.port + b, *data);
			else
				*data = port_in(v->vm, run->io.port + b);
		}
	}
}

/* No device is mapped into memory: reads find nothing, writes go nowhere. */
static void access_memory(struct vmm_vcpu *v)
{
	if (!vmm_mmio_of_ram(v, v->run->mmio.phys_addr) && !v->run->mmio.is_write)
		memset(v->run->mmio.data, 0xff, sizeof(v->run->mmio.data));
}

bool vmm_machine_exit(struct vmm_vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		access_ports(v);
		return true;
	case KVM_EXIT_MMIO:
		access_memory(v);
		return true;
	}
	return false;
}

int vmm_machine_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	struct kvm_clock_data clock = { 0 };
	struct kvm_pit_state2 pit;
	int err = CALL(vm->vm_fd, KVM_GET_CLOCK, &clock);

	if (err)
		return err;
	vmm_snapshot_add(w, VMM_SEC_CLOCK, 0, &clock, sizeof(clock));
	for (uint32_t i = KVM_IRQCHIP_PIC_MASTER; i <= KVM_IRQCHIP_IOAPIC; i++) {
		struct kvm_irqchip chip = { .chip_id = i };

		err = CALL(vm->vm_fd, KVM_GET_IRQCHIP, &chip);
		if (err)
			return err;
		vmm_snapshot_add(w, VMM_SEC_IRQCHIP, i, &chip, sizeof(chip));
	}
	err = CALL(vm->vm_fd, KVM_GET_PIT2, &pit);
	if (err)
		return err;
	vmm_snapshot_add(w, VMM_SEC_PIT, 0, &pit, sizeof(pit));
	return 0;
}

int vmm_machine_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	struct kvm_pit_state2 pit;
	int err;

	for (uint32_t i = KVM_IRQCHIP_PIC_MASTER; i <= KVM_IRQCHIP_IOAPIC; i++) {
		struct kvm_irqchip chip;

		memcpy(&chip, s->sec[VMM_SEC_IRQCHIP][i].data, sizeof(chip));
		chip.chip_id = i;
		err = CALL(vm->vm_fd, KVM_SET_IRQCHIP, &chip);
		if (err)
			return err;
	}
	memcpy(&pit, s->sec[VMM_SEC_PIT][0].data, sizeof(pit));
	return CALL(vm->vm_fd, KVM_SET_PIT2, &pit);
}

/*
 * KVM gives TSC_STABLE and the host's own times out, but takes none of them back.
 * The guest's clock goes on from where it stood.
 */
int vmm_machine_load_clock(struct vmm *vm, const struct vmm_snapshot *s)
{
	struct kvm_clock_data clock;
	uint64_t ns;

	memcpy(&clock, s->sec[VMM_SEC_CLOCK][0].data, sizeof(clock));
	ns = clock.clock;
	clock = (struct kvm_clock_data){ .clock = ns };
	return CALL(vm->vm_fd, KVM_SET_CLOCK, &clock);
}
