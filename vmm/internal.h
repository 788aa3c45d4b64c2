/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the VMM share. Files that end in _x86.c, boot_linux.c,
 * boot_multiboot.c, acpi.c and cpuid.c are the x86 machine; those that end in _arm64.c
 * and device_tree.c are the arm64 machine; the others know no processor.
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
	int gic_fd;		/* arm64: the interrupt controller; else -1 */
	size_t run_size;	/* of each vCPU's kvm_run mapping */
	struct vmm_ram ram;
	struct apf_mem *mem;
	struct apf_kvm *apf;	/* set with release order: the pager looks at it */
	struct vmm_vcpu *vcpus;	/* cfg.cpus */
	struct vmm_serial serial;
	struct vmm_console console;
	_Atomic uint64_t first_output_ns;
	_Atomic int64_t debug_exit;	/* what was written to that register, or -1 */

	pthread_mutex_t lock;	/* of everything below */
	pthread_cond_t cond;	/* one of it has changed */
	unsigned int threads;	/* vCPU threads that were created */
	unsigned int parked;	/* of these: standing in vmm_vcpu_park */
	bool hold;		/* vCPUs shall park */
	bool stopping;		/* vCPUs shall end */
	struct vmm_folder *saving;	/* that vmm_save writes into; NULL: none */
	enum vmm_end end;
	char end_text[512];
};

/* vcpu.c: the thread of a vCPU. */
void *vmm_vcpu_main(void *vcpu);

/* devices.c: what every machine has. */
int vmm_devices_init(struct vmm *vm);
void vmm_devices_save(struct vmm *vm, struct vmm_snapshot_writer *w);
/* Also sets the serial port's interrupt line. */
void vmm_devices_load(struct vmm *vm, const struct vmm_snapshot *s);
/* The guest writes to a device: remember when it did so first. */
void vmm_note_output(struct vmm *vm);
/* The guest writes len bytes to the debug-exit register: the VM ends. */
void vmm_write_debug_exit(struct vmm *vm, const uint8_t *data, size_t len);
/*
 * Is this address, that KVM asks about, RAM? Then it is no device: KVM's own access to
 * a page that libapf could not bring failed, and the VM ends.
 */
bool vmm_mmio_of_ram(struct vmm_vcpu *v, uint64_t gpa);

/*
 * machine_x86.c or machine_arm64.c: interrupt controllers, timers, and what else is
 * around the processors.
 */
/* Before the first vCPU; after the last one. */
int vmm_machine_init(struct vmm *vm);
int vmm_machine_complete(struct vmm *vm);
/* Choose the processor that a new vCPU is; before libapf has it. */
int vmm_machine_init_vcpu(struct vmm_vcpu *v);
/* The serial port's interrupt line; vm is a struct vmm. */
void vmm_machine_serial_irq(void *vm, bool level);
/* An access of the guest that no RAM answers. False: the exit is something else. vCPU thread. */
bool vmm_machine_exit(struct vmm_vcpu *v);
/* Put a kernel into RAM; a NULL command line: what suits the kind of kernel. */
struct vmm_boot_args;
struct vmm_boot_entry;
int vmm_machine_load_kernel(const struct vmm_ram *ram, struct vmm_boot_args *args,
			    struct vmm_boot_entry *out);
/* VM-wide devices from and to a snapshot; loading is done before the first vCPU's. */
int vmm_machine_save(struct vmm *vm, struct vmm_snapshot_writer *w);
int vmm_machine_load(struct vmm *vm, const struct vmm_snapshot *s);
/* The guest's clock goes on from here; after all vCPUs are loaded. */
int vmm_machine_load_clock(struct vmm *vm, const struct vmm_snapshot *s);

/* state_x86.c or state_arm64.c: registers of one vCPU. */
int vmm_machine_boot_vcpu(struct vmm_vcpu *v, const struct vmm_boot_entry *entry);
int vmm_machine_save_vcpu(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);
int vmm_machine_load_vcpu(struct vmm_vcpu *v, const struct vmm_snapshot *s);
/* The vCPU runs on after a pause: tell the guest's clock, if there is a way to. */
void vmm_machine_resume_vcpu(struct vmm_vcpu *v);

/* checkpoint.c: everything but RAM; the file's checksums are still to be filled in. */
int vmm_state_save(struct vmm *vm, struct vmm_snapshot_writer *w);

/* vm.c: no vCPU waits for a page any more, nor can it run again. Any thread. */
void vmm_cut_off(struct vmm *vm);

/* state.c: the whole state of one vCPU. */
int vmm_vcpu_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w);
/* Everything but the APF state, which is the last step of all vCPUs (vmm_vcpu_load_apf). */
int vmm_vcpu_load(struct vmm_vcpu *v, const struct vmm_snapshot *s);
int vmm_vcpu_load_apf(struct vmm_vcpu *v, const struct vmm_snapshot *s);

/* State that is one struct and one ioctl each way. A section that is not there is not loaded. */
struct vmm_piece {
	enum vmm_section section;
	unsigned long get, set;
	size_t size;
};
int vmm_piece_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w, const struct vmm_piece *p);
int vmm_piece_load(struct vmm_vcpu *v, const struct vmm_snapshot *s, const struct vmm_piece *p);
/* An ioctl has just failed: set apf_error to "KVM does not WHAT its SECTION"; -errno. */
int vmm_state_failed(const struct vmm_vcpu *v, const char *what, enum vmm_section section);

#endif
