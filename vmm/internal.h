/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the VMM share. Files that end in _x86.c, boot_linux.c,
 * boot_multiboot.c, acpi.c and cpuid.c are the x86 machine; the others know no processor.
 */
#ifndef VMM_INTERNAL_H
#define VMM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include "ram.h"
#include "serial.h"
#include "vmm.h"

struct vmm_vcpu {
	struct vmm *vm;
	uint32_t id;
	int fd;
	struct kvm_run *run;
	struct apf_kvm_vcpu *apf;
	pthread_t thread;
	pid_t tid;		/* valid once the thread has parked for the first time */
};

struct vmm {
	struct vmm_config cfg;
	int kvm_fd, vm_fd, event_fd;
	size_t run_size;	/* of each vCPU's kvm_run mapping */
	struct vmm_ram ram;
	struct apf_mem *mem;
	struct apf_kvm *apf;	/* set with release order: the pager looks at it */
	struct vmm_vcpu *vcpus;	/* cfg.cpus */
	struct vmm_serial serial;
	struct vmm_console console;
	_Atomic uint64_t first_output_ns;
	_Atomic int64_t debug_exit;	/* what was written to that port, or -1 */

	pthread_mutex_t lock;	/* of everything below */
	pthread_cond_t cond;	/* one of it has changed */
	unsigned int threads;	/* vCPU threads that were created */
	unsigned int parked;	/* of these: standing in vmm_vcpu_park */
	bool hold;		/* vCPUs shall park */
	bool stopping;		/* vCPUs shall end */
	enum vmm_end end;
	char end_text[512];
};

/* vcpu.c: the thread of a vCPU. */
void *vmm_vcpu_main(void *vcpu);

/* machine_x86.c: RAM layout, interrupt controllers, timer. Before the first vCPU. */
int vmm_machine_init(struct vmm *vm);
/* Port and memory accesses of the guest that no RAM answers. vCPU thread. */
void vmm_machine_io(struct vmm_vcpu *v);
void vmm_machine_mmio(struct vmm_vcpu *v);
/* VM-wide devices from and to a snapshot. */
int vmm_machine_save(struct vmm *vm, struct vmm_snapshot_writer *w);
int vmm_machine_load(struct vmm *vm, const struct vmm_snapshot *s);
/* The guest's clock goes on from here; after all vCPUs are loaded. */
int vmm_machine_load_clock(struct vmm *vm, const struct vmm_snapshot *s);

/* cpuid.c: what the guest sees of the processor. Sets it in KVM. */
int vmm_cpuid_init(struct vmm_vcpu *v);
/* The same from a snapshot: hostile bytes. */
int vmm_cpuid_load(struct vmm_vcpu *v, const struct vmm_bytes *bytes);
/* Add section cpuid. */
int vmm_cpuid_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);

/* state_x86.c: registers of one vCPU. */
struct vmm_boot_entry;
int vmm_vcpu_boot(struct vmm_vcpu *v, const struct vmm_boot_entry *entry);
int vmm_vcpu_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);
/* Everything but the APF state, which is the last step of all vCPUs (vmm_vcpu_load_apf). */
int vmm_vcpu_load(struct vmm_vcpu *v, const struct vmm_snapshot *s);
int vmm_vcpu_load_apf(struct vmm_vcpu *v, const struct vmm_snapshot *s);
/* Tell the guest's clock that it stood still. */
void vmm_vcpu_clock_paused(struct vmm_vcpu *v);

#endif
