/* SPDX-License-Identifier: MIT */
/*
 * The x86 machine around the processors: interrupt controllers and timer (KVM's),
 * a serial port, and the registers that power off, reset, and end a test.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "internal.h"
#include "machine_x86.h"

static int call(int fd, unsigned long request, const void *arg, const char *name)
{
	if (ioctl(fd, request, arg) < 0)
		return apf_error_set(-errno, "vmm: %s: %s", name, strerror(errno));
	return 0;
}
#define CALL(fd, request, arg) call(fd, request, arg, #request)

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

static void port_out(struct vmm *vm, uint32_t port, uint8_t value)
{
	if (port - VMM_SERIAL_PORT < VMM_SERIAL_PORTS)
		vmm_serial_write(&vm->serial, port - VMM_SERIAL_PORT, value);
	else if (port == PORT_SLEEP_CONTROL && (value & SLEEP_ENABLE) &&
		 SLEEP_TYPE(value) == SLEEP_TYPE_S5)
		vmm_finish(vm, VMM_END_POWEROFF, "the guest powered off");
	else if ((port == PORT_RESET && value == RESET_VALUE) ||
		 (port == PORT_KEYBOARD && value == KEYBOARD_RESET))
		vmm_finish(vm, VMM_END_RESET, "the guest asked for a reset");
}

static uint8_t port_in(struct vmm *vm, uint32_t port)
{
	if (port - VMM_SERIAL_PORT < VMM_SERIAL_PORTS)
		return vmm_serial_read(&vm->serial, port - VMM_SERIAL_PORT);
	/* No sleep has ended; the keyboard controller takes commands. Elsewhere is nothing. */
	if (port == PORT_SLEEP_STATUS || port == PORT_KEYBOARD)
		return 0;
	return 0xff;
}

/* The value counts as a whole, whatever its width; the first one, if several vCPUs write. */
static void debug_exit(struct vmm *vm, const uint8_t *data, size_t len)
{
	int64_t none = -1;
	uint32_t value = 0;

	memcpy(&value, data, len);
	if (atomic_compare_exchange_strong(&vm->debug_exit, &none, value))
		vmm_finish(vm, VMM_END_DEBUG_EXIT, "the guest wrote %u to the debug-exit port", value);
}

void vmm_machine_io(struct vmm_vcpu *v)
{
	const struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	const bool out = run->io.direction == KVM_EXIT_IO_OUT;
	uint64_t never = 0;

	if (out && !atomic_load_explicit(&v->vm->first_output_ns, memory_order_relaxed))
		atomic_compare_exchange_strong(&v->vm->first_output_ns, &never, vmm_now_ns());
	if (out && run->io.port - PORT_DEBUG_EXIT < PORTS_DEBUG_EXIT) {
		debug_exit(v->vm, data, run->io.size);
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

/*
 * No device is mapped into memory: reads find nothing, writes go nowhere. An address in
 * RAM is no device: KVM's own access to a page that libapf could not bring failed.
 */
void vmm_machine_mmio(struct vmm_vcpu *v)
{
	const uint64_t gpa = v->run->mmio.phys_addr;

	if (vmm_ram_at(&v->vm->ram, gpa, 1))
		vmm_finish(v->vm, VMM_END_PAGE_LOST, "vCPU %u: KVM cannot reach RAM at 0x%llx: %s",
			   v->id, (unsigned long long)gpa, apf_mem_lost_text(v->vm->mem));
	else if (!v->run->mmio.is_write)
		memset(v->run->mmio.data, 0xff, sizeof(v->run->mmio.data));
}

int vmm_machine_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	char line[sizeof(struct vmm_serial_regs) + VMM_LINE_MAX];
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
	vmm_serial_get_regs(&vm->serial, (struct vmm_serial_regs *)line);
	vmm_snapshot_add(w, VMM_SEC_SERIAL, 0, line, sizeof(struct vmm_serial_regs) +
			 vmm_console_partial(&vm->console, line + sizeof(struct vmm_serial_regs)));
	return 0;
}

int vmm_machine_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	const struct vmm_bytes *serial = &s->sec[VMM_SEC_SERIAL][0];
	struct vmm_serial_regs regs;
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
	err = CALL(vm->vm_fd, KVM_SET_PIT2, &pit);
	if (err)
		return err;
	memcpy(&regs, serial->data, sizeof(regs));
	vmm_serial_set_regs(&vm->serial, &regs);
	vmm_console_set_partial(&vm->console, (const char *)serial->data + sizeof(regs),
				serial->len - sizeof(regs));
	return 0;
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
