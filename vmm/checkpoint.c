/* SPDX-License-Identifier: MIT */
/* The state of a whole VM, from and to a snapshot; save.c makes the folder. */
#include <errno.h>

#include <apf/error.h>

#include "internal.h"

int vmm_state_save(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	const struct vmm_snapshot_vm info = {
		.mem_size = vm->cfg.mem_size,
		.cpus = vm->cfg.cpus,
		.delivery = vm->cfg.delivery,
		.abi = vm->cfg.abi,
	};
	int err;

	w->machine = vmm_machine.kind;
	vmm_snapshot_add(w, VMM_SEC_VM, 0, &info, sizeof(info));
	vmm_devices_save(vm, w);
	err = vmm_machine_save(vm, w);
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_save(&vm->vcpus[i], w);
	return err;
}

int vmm_can_load(const struct vmm_snapshot *s)
{
	if (s->machine == vmm_machine.kind)
		return 0;
	return apf_error_set(-EINVAL, "snapshot: of an %s machine, this program runs %s ones; restore "
			     "it on a host of its kind", vmm_snapshot_machine_name(s->machine),
			     vmm_snapshot_machine_name(vmm_machine.kind));
}

int vmm_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	int err = vmm_can_load(s);

	if (err)
		return err;
	if (s->vm.mem_size != vm->cfg.mem_size || s->vm.cpus != vm->cfg.cpus)
		return apf_error_set(-EINVAL, "snapshot: of %u vCPUs, %llu bytes; this VM: %u, %llu",
				     s->vm.cpus, (unsigned long long)s->vm.mem_size,
				     vm->cfg.cpus, (unsigned long long)vm->cfg.mem_size);
	if (s->vm.abi != vm->cfg.abi)
		return apf_error_set(-EINVAL, "snapshot: its guest was offered generation %s, this "
				     "VM offers %s", apf_abi_name(s->vm.abi),
				     apf_abi_name(vm->cfg.abi));
	err = vmm_machine_load(vm, s);
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_load(&vm->vcpus[i], s);
	if (!err) {
		/* When every vCPU can take the interrupt: one that is an edge is lost before. */
		vmm_devices_load(vm, s);
		err = vmm_machine_load_clock(vm, s);
	}
	/* Last, when every vCPU can take interrupts: readies may go out at once. */
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_load_apf(&vm->vcpus[i], s);
	return err;
}
