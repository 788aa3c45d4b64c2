/* SPDX-License-Identifier: MIT */
/* The thread of a vCPU: runs the guest, serves its exits, parks when it is told to. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "internal.h"

/*
 * Stand while the VM is held. False: the thread shall end. Only called where the
 * vCPU's state can be saved: before the first run, or after -EINTR.
 */
static bool park(struct vmm_vcpu *v)
{
	struct vmm *vm = v->vm;
	bool go_on;

	pthread_mutex_lock(&vm->lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->cond);
	while ((vm->hold || vm->end != VMM_RUNNING) && !vm->stopping)
		pthread_cond_wait(&vm->cond, &vm->lock);
	vm->parked--;
	go_on = !vm->stopping;
	pthread_mutex_unlock(&vm->lock);
	return go_on;
}

static void system_event(struct vmm_vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vmm_finish(v->vm, VMM_END_POWEROFF, "the guest powered off");
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vmm_finish(v->vm, VMM_END_RESET, "the guest asked for a reset");
		break;
	default:
		vmm_finish(v->vm, VMM_END_CRASH, "the guest reported a crash (system event %u)",
			   v->run->system_event.type);
	}
}

/* An exit that is not libapf's. */
static void serve(struct vmm_vcpu *v)
{
	if (vmm_machine_exit(v))
		return;
	switch (v->run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(v);
		break;
	case KVM_EXIT_SHUTDOWN:
		vmm_finish(v->vm, VMM_END_CRASH, "vCPU %u: triple fault", v->id);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vmm_finish(v->vm, VMM_END_CRASH, "vCPU %u: the processor refuses the guest's state "
			   "(0x%llx)", v->id,
			   (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vmm_finish(v->vm, VMM_END_CRASH, "vCPU %u: KVM cannot go on (internal error %u)",
			   v->id, v->run->internal.suberror);
		break;
	case KVM_EXIT_HLT:
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	default:
		vmm_finish(v->vm, VMM_END_CRASH, "vCPU %u: unexpected exit %u of KVM", v->id,
			   v->run->exit_reason);
	}
}

static void failed(struct vmm_vcpu *v, int err)
{
	if (err == -EIO)
		vmm_finish(v->vm, VMM_END_PAGE_LOST, "vCPU %u needs a lost page, at 0x%llx: %s",
			   v->id, (unsigned long long)apf_kvm_lost(v->apf),
			   apf_mem_lost_text(v->vm->mem));
	else if (err == -EHWPOISON)
		vmm_finish(v->vm, VMM_END_PAGE_LOST, "%s", apf_error());
	else
		vmm_finish(v->vm, VMM_END_ERROR, "vCPU %u: %s", v->id,
			   *apf_error() ? apf_error() : strerror(-err));
}

static bool is_stopping(struct vmm *vm)
{
	bool stopping;

	pthread_mutex_lock(&vm->lock);
	stopping = vm->stopping;
	pthread_mutex_unlock(&vm->lock);
	return stopping;
}

/* Before a pause: an access of the guest that waits for its page is completed, no more. */
static int complete_access(struct vmm_vcpu *v)
{
	int r = -EINTR;

	v->run->immediate_exit = 1;
	while (r == -EINTR && apf_kvm_vcpu_pending(v->apf) && !is_stopping(v->vm)) {
		r = apf_kvm_run(v->apf);
		if (!r) {
			serve(v);
			r = -EINTR;
		}
	}
	v->run->immediate_exit = 0;
	return r;
}

void *vmm_vcpu_main(void *vcpu)
{
	struct vmm_vcpu *v = vcpu;
	int r;

	v->tid = gettid();
	r = apf_kvm_vcpu_attach(v->apf);
	if (r)
		failed(v, r);
	while (park(v)) {
		while ((r = apf_kvm_run(v->apf)) == 0) {
			serve(v);
			if (vmm_ended(v->vm) != VMM_RUNNING)
				break;
		}
		if (r == -EINTR)
			r = complete_access(v);
		if (r < 0 && r != -EINTR)
			failed(v, r);
	}
	apf_kvm_vcpu_detach(v->apf);
	return NULL;
}
