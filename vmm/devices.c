/* SPDX-License-Identifier: MIT */
/* What every machine has: a serial line to the console, and a register that ends a test. */
#include <string.h>

#include "internal.h"

static void until_seen(void *ctx, const char *line)
{
	vmm_finish(ctx, VMM_END_UNTIL, "%s", line);
}

int vmm_devices_init(struct vmm *vm)
{
	struct vmm_console_config console = vm->cfg.console;
	int err;

	console.until_seen = until_seen;
	console.ctx = vm;
	err = vmm_console_init(&vm->console, &console);
	if (err)
		return err;
	vm->serial.console = &vm->console;
	vm->serial.set_irq = vmm_machine_serial_irq;
	vm->serial.ctx = vm;
	return vmm_serial_init(&vm->serial, vm->cfg.input, vm->cfg.input_len);
}

void vmm_devices_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	char bytes[sizeof(struct vmm_serial_regs) + VMM_LINE_MAX];
	char *line = bytes + sizeof(struct vmm_serial_regs);

	vmm_serial_get_regs(&vm->serial, (struct vmm_serial_regs *)bytes);
	vmm_snapshot_add(w, VMM_SEC_SERIAL, 0, bytes, sizeof(struct vmm_serial_regs) +
			 vmm_console_partial(&vm->console, line));
}

void vmm_devices_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	const struct vmm_bytes *b = &s->sec[VMM_SEC_SERIAL][0];
	struct vmm_serial_regs regs;

	memcpy(&regs, b->data, sizeof(regs));
	vmm_serial_set_regs(&vm->serial, &regs);
	vmm_console_set_partial(&vm->console, (const char *)b->data + sizeof(regs),
				b->len - sizeof(regs));
}

void vmm_note_output(struct vmm *vm)
{
	uint64_t never = 0;

	if (!atomic_load_explicit(&vm->first_output_ns, memory_order_relaxed))
		atomic_compare_exchange_strong(&vm->first_output_ns, &never, vmm_now_ns());
}

/* The value counts as a whole, whatever its width; the first one, if several vCPUs write. */
void vmm_write_debug_exit(struct vmm *vm, const uint8_t *data, size_t len)
{
	int64_t none = -1;
	uint32_t value = 0;

	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	if (atomic_compare_exchange_strong(&vm->debug_exit, &none, value))
		vmm_finish(vm, VMM_END_DEBUG_EXIT, "the guest wrote %u to the debug-exit register",
			   value);
}

bool vmm_mmio_of_ram(struct vmm_vcpu *v, uint64_t gpa)
{
	if (!vmm_ram_at(&v->vm->ram, gpa, 1))
		return false;
	vmm_finish(v->vm, VMM_END_PAGE_LOST, "vCPU %u: KVM cannot reach RAM at 0x%llx: %s", v->id,
		   (unsigned long long)gpa, apf_mem_lost_text(v->vm->mem));
	return true;
}
