/* SPDX-License-Identifier: MIT */
/*
 * A small VMM: boots 64-bit Linux and test kernels, saves and restores them. This
 * header is the VM as its owner (apf/) sees it; internal.h is what its parts share.
 *
 * One thread, the owner's, creates and ends the VM, pauses, saves and serves the
 * control socket (vmm_loop); each vCPU has a thread of its own. Everything about
 * asynchronous page faults is asked of libapf; the VMM knows nothing of them.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <apf/kvm.h>
#include <apf/memory.h>

#include "console.h"
#include "ram.h"
#include "snapshot.h"

struct vmm;
struct apf_store;

/* The machine that the VMs of this program are, chosen when it was built. */
struct vmm_machine {
	enum vmm_snapshot_machine kind;
	enum apf_abi_id abi;		/* the generation that guests are offered if nobody says */
	bool kernel_delivery;		/* its KVM has asynchronous page faults of its own */
	unsigned int cpus_max;
	struct vmm_ram_layout ram;
};
extern const struct vmm_machine vmm_machine;

/* What KVM_CREATE_VM wants to be told for it. */
unsigned long vmm_machine_vm_type(int kvm_fd);

/* Why a VM stopped. */
enum vmm_end {
	VMM_RUNNING,
	VMM_END_UNTIL,		/* the awaited serial line came */
	VMM_END_POWEROFF,
	VMM_END_DEBUG_EXIT,	/* the guest wrote to the debug-exit register */
	VMM_END_RESET,
	VMM_END_CRASH,		/* triple fault, or the processor state is beyond KVM */
	VMM_END_TIMEOUT,
	VMM_END_STOP,		/* the owner or a control client asked for it */
	VMM_END_SIGNAL,		/* this process was told to end */
	VMM_END_PAGE_LOST,	/* the store failed for good */
	VMM_END_ERROR,		/* of the host */
};

/* "poweroff", "page-lost", ... as in the JSON output. */
const char *vmm_end_name(enum vmm_end end);
/* "sync", "kernel", "user"; and back: -EINVAL if it is none of them. */
const char *vmm_delivery_name(enum apf_delivery d);
int vmm_delivery_parse(const char *text, enum apf_delivery *d);

struct vmm_config {
	uint64_t mem_size;		/* bytes, whole pages of the host, at least 2 MiB */
	unsigned int cpus;		/* 1..vmm_machine.cpus_max */
	enum apf_delivery delivery;
	enum apf_abi_id abi;		/* 0: the machine's */
	enum apf_halt halt;
	struct apf_store *store;	/* taken over, also on failure; NULL: RAM is all there, and zero */
	struct vmm_console_config console;
	const char *input;		/* bytes for the guest's serial port; copied */
	size_t input_len;
	uint32_t max_outstanding;	/* faults per vCPU; 0: the library's choice */
};

/*
 * Create a VM with its RAM, interrupt controllers and vCPUs; nothing runs yet. The
 * state of the vCPUs is KVM's initial one; next is vmm_boot or vmm_load. 0, or a
 * negative errno and apf_error.
 */
int vmm_create(const struct vmm_config *cfg, struct vmm **out);
void vmm_destroy(struct vmm *vm);	/* stops it first if need be; NULL is fine */

#define VMM_BOOT_FILES_MAX	32u

struct vmm_boot {
	const char *kernel;		/* path. x86: bzImage, 64-bit ELF, or anything with a multiboot
					   header; arm64: Image or ELF */
	const char *cmdline;		/* NULL: what suits the kind of kernel */
	struct {
		const char *path;
		const char *text;	/* the string that goes with a module */
	} files[VMM_BOOT_FILES_MAX];	/* multiboot: modules; others: at most one, the initrd */
	unsigned int nr_files;
};
/*
 * Load a kernel and set vCPU 0 to its entry; the others wait for it. With a store (of zeroes: a kernel
 * expects nothing else) the pages that the kernel and its files lie in are fetched here, the rest of
 * RAM when the guest touches it. 0 or negative errno.
 */
int vmm_boot(struct vmm *vm, const struct vmm_boot *boot);

/* Read a file of at most max bytes; *bytes is the caller's to free. 0 or negative errno. */
int vmm_read_file(const char *path, size_t max, void **bytes, size_t *len);

/* Is a parsed snapshot of this machine? 0, or -EINVAL + apf_error. */
int vmm_can_load(const struct vmm_snapshot *s);

/*
 * Load a parsed snapshot into a VM that was created with the snapshot's memory
 * size, number of vCPUs and generation; its store holds the RAM. Waits for the few pages that
 * KVM itself needs. 0 or negative errno.
 */
int vmm_load(struct vmm *vm, const struct vmm_snapshot *s);

/* Create the vCPU threads; they stand until vmm_resume. 0 or negative errno. */
int vmm_start(struct vmm *vm);
/* Bring all vCPUs to a stand in a state that can be saved; waits. Not nested. */
void vmm_pause(struct vmm *vm);
void vmm_resume(struct vmm *vm);
/* End all vCPU threads; waits. The VM cannot run again, but can be asked for its numbers. */
void vmm_stop(struct vmm *vm);

/*
 * Save the paused VM as a folder that must not exist: writes DIR.tmp-XXXXXX, a name that nobody
 * has, and renames it when all of it is on disk. Deliveries must be frozen (apf_kvm_freeze).
 * progress may be NULL. 0; -EEXIST: DIR exists, now or by then; or another negative errno.
 */
int vmm_save(struct vmm *vm, const char *dir, void (*progress)(void *arg, uint64_t done),
	     void *arg);

/* The process is about to end: no vCPU waits for a page, and what a save has written is removed. Any thread. */
void vmm_abandon(struct vmm *vm);

/*
 * End the VM for this reason, with a text for the operator (printf style); the
 * first call counts. Any thread; returns at once, vmm_loop then ends.
 */
void vmm_finish(struct vmm *vm, enum vmm_end end, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
enum vmm_end vmm_ended(struct vmm *vm);
/* The text of vmm_finish, "" if none. Stable once vmm_ended says so. */
const char *vmm_end_text(const struct vmm *vm);

/* More bytes for the guest's serial port, behind those it was given. Any thread. 0 or -ENOMEM. */
int vmm_input(struct vmm *vm, const char *bytes, size_t len);

/* Readable when vmm_finish was called or the console has news. */
int vmm_event_fd(const struct vmm *vm);
void vmm_notify(struct vmm *vm);

/* What the owner may look at. */
struct vmm_console *vmm_console(struct vmm *vm);
struct apf_mem *vmm_mem(struct vmm *vm);
struct apf_kvm *vmm_apf(struct vmm *vm);
struct apf_kvm_vcpu *vmm_vcpu_apf(const struct vmm *vm, unsigned int id);
const struct vmm_config *vmm_get_config(const struct vmm *vm);
pid_t vmm_vcpu_tid(const struct vmm *vm, unsigned int id);	/* after vmm_start */
/* CLOCK_MONOTONIC of the guest's first write to a device, 0 before it. */
uint64_t vmm_first_output_ns(const struct vmm *vm);
/* What the guest wrote to the debug-exit register, or -1. */
int64_t vmm_debug_exit(const struct vmm *vm);
/* Faults outstanding as far as this delivery mode can know. */
uint32_t vmm_outstanding(struct vmm *vm);

/* CLOCK_MONOTONIC in ns. */
uint64_t vmm_now_ns(void);

struct vmm_loop_config {
	const char *control;		/* path of the control socket, or NULL */
	uint64_t start_ns;		/* CLOCK_MONOTONIC; "ms" of a status counts from it */
	uint64_t timeout_ns;		/* from the call on; 0: none */
	void (*tick)(void *arg);	/* about every 100 ms; may be NULL */
	void *arg;
};
/*
 * Serve the VM until it ends: control socket, time limit, ticks. The owner's
 * thread, after vmm_resume. The vCPUs have been stopped when it returns. Returns
 * why it ended, or VMM_END_ERROR if the control socket could not be made.
 */
enum vmm_end vmm_loop(struct vmm *vm, const struct vmm_loop_config *cfg);

#endif
