/* SPDX-License-Identifier: MIT */
/*
 * A VM's life: creation, vCPU threads, pause and resume, end, destruction.
 *
 * A pause is a handshake: the owner sets `hold` and kicks every vCPU; each leaves
 * the guest with its I/O completed and parks; the owner waits until all have.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apf/error.h>
#include <apf/store.h>

#include "internal.h"

#define DRAIN_MS	400u	/* a reader's time to take what is left; all ends within a second */

uint64_t vmm_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_kvm(struct vmm *vm)
{
	int n;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return apf_error_set(-errno, "vmm: /dev/kvm: %s%s", strerror(errno),
				     errno == EMFILE || errno == ENFILE ? "" : "; `apf doctor` says more");
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, vmm_machine_vm_type(vm->kvm_fd));
	if (vm->vm_fd < 0)
		return apf_error_set(-errno, "vmm: KVM_CREATE_VM: %s", strerror(errno));
	n = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < 0)
		return apf_error_set(-errno, "vmm: KVM_GET_VCPU_MMAP_SIZE: %s", strerror(errno));
	vm->run_size = (size_t)n;
	n = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (vm->cfg.cpus > vmm_machine.cpus_max || (n > 0 && vm->cfg.cpus > (unsigned int)n))
		return apf_error_set(-EINVAL, "vmm: %u vCPUs; this machine has at most %u, this KVM %d",
				     vm->cfg.cpus, vmm_machine.cpus_max, n);
	return 0;
}

/* KVM counts a slot's pages in 31 bits. */
#define SLOT_MAX	(1ull << 43)

static int init_mem(struct vmm *vm)
{
	struct apf_mem_config mc = {
		.size = vm->cfg.mem_size,
		.trap = !vm->cfg.store ? APF_TRAP_NONE
			: vm->cfg.delivery == APF_DELIVERY_USER ? APF_TRAP_POISON : APF_TRAP_BLOCK,
		.store = vm->cfg.store,
	};
	int err;

	if (vm->cfg.mem_size >= SLOT_MAX)
		return apf_error_set(-EINVAL, "vmm: %llu bytes of memory; KVM takes less than %llu (8 TiB) in "
				     "one piece", (unsigned long long)vm->cfg.mem_size, SLOT_MAX);
	err = apf_mem_create(&mc, &vm->mem);
	if (err)
		return err;
	vm->cfg.store = NULL;	/* now the memory's */
	vmm_ram_init(&vm->ram, &vmm_machine.ram, apf_mem_view_b(vm->mem), vm->cfg.mem_size);
	for (unsigned int i = 0; i < vm->ram.nr_slots; i++) {
		const struct apf_kvm_slot *s = &vm->ram.slots[i];
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = s->gpa,
			.memory_size = s->size,
			.userspace_addr = (uintptr_t)apf_mem_view_a(vm->mem) + s->offset,
		};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
			return apf_error_set(-errno, "vmm: cannot give KVM memory slot %u: %s", i,
					     strerror(errno));
	}
	return 0;
}

static int init_apf(struct vmm *vm)
{
	struct apf_kvm_config kc = {
		.kvm_fd = vm->kvm_fd,
		.vm_fd = vm->vm_fd,
		.mem = vm->mem,
		.slots = vm->ram.slots,
		.nr_slots = vm->ram.nr_slots,
		.delivery = vm->cfg.delivery,
		.abi = vm->cfg.abi,
		.halt = vm->cfg.halt,
		.max_vcpus = vm->cfg.cpus,
		.max_outstanding = vm->cfg.max_outstanding,
	};
	struct apf_kvm *k;
	int err = apf_kvm_create(&kc, &k);

	if (!err)
		vm->apf = k;
	return err;
}

static int init_vcpu(struct vmm_vcpu *v)
{
	struct vmm *vm = v->vm;

	v->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)v->id);
	if (v->fd < 0)
		return apf_error_set(-errno, "vmm: KVM_CREATE_VCPU %u: %s", v->id, strerror(errno));
	v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return apf_error_set(-errno, "vmm: mmap of vCPU %u: %s", v->id, strerror(errno));
	}
	return 0;
}

static int init_vcpus(struct vmm *vm)
{
	vm->vcpus = calloc(vm->cfg.cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return apf_error_set(-ENOMEM, "vmm: out of memory");
	for (unsigned int i = 0; i < vm->cfg.cpus; i++)
		vm->vcpus[i] = (struct vmm_vcpu){ .vm = vm, .id = i, .fd = -1 };
	for (unsigned int i = 0; i < vm->cfg.cpus; i++) {
		struct vmm_vcpu *v = &vm->vcpus[i];
		int err = init_vcpu(v);

		if (!err)
			err = vmm_machine_init_vcpu(v);
		if (!err)
			err = apf_kvm_vcpu_add(vm->apf, v->id, v->fd, v->run, &v->apf);
		if (err)
			return err;
	}
	return 0;
}

int vmm_create(const struct vmm_config *cfg, struct vmm **out)
{
	struct vmm *vm = calloc(1, sizeof(*vm));
	int err;

	if (!vm) {
		apf_store_close(cfg->store);
		return apf_error_set(-ENOMEM, "vmm: out of memory");
	}
	vm->cfg = *cfg;
	if (!vm->cfg.abi)
		vm->cfg.abi = vmm_machine.abi;
	vm->kvm_fd = vm->vm_fd = vm->gic_fd = -1;
	vm->debug_exit = -1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->cond, NULL);
	vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = vm->event_fd < 0 ? apf_error_set(-errno, "vmm: eventfd: %s", strerror(errno)) : 0;
	if (!err)
		err = vmm_devices_init(vm);
	if (!err)
		err = open_kvm(vm);
	if (!err)
		err = vmm_machine_init(vm);
	if (!err)
		err = init_mem(vm);
	if (!err)
		err = init_apf(vm);
	if (!err)
		err = init_vcpus(vm);
	if (!err)
		err = vmm_machine_complete(vm);
	if (err) {
		vmm_destroy(vm);
		return err;
	}
	*out = vm;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vmm_destroy(struct vmm *vm)
{
	if (!vm)
		return;
	vmm_stop(vm);
	for (unsigned int i = 0; vm->vcpus && i < vm->cfg.cpus; i++) {
		if (vm->vcpus[i].run)
			munmap(vm->vcpus[i].run, vm->run_size);
		close_fd(vm->vcpus[i].fd);
	}
	if (vm->mem)
		apf_mem_destroy(vm->mem);
	apf_kvm_destroy(vm->apf);
	apf_store_close(vm->cfg.store);
	close_fd(vm->gic_fd);
	close_fd(vm->vm_fd);
	close_fd(vm->kvm_fd);
	close_fd(vm->event_fd);
	free(vm->vcpus);
	vmm_serial_destroy(&vm->serial);
	vmm_console_destroy(&vm->console);
	pthread_mutex_destroy(&vm->lock);
	pthread_cond_destroy(&vm->cond);
	free(vm);
}

static void kick_all(struct vmm *vm)
{
	for (unsigned int i = 0; i < vm->threads; i++)
		apf_kvm_kick(vm->vcpus[i].apf);
}

static void wait_parked(struct vmm *vm)
{
	pthread_mutex_lock(&vm->lock);
	while (vm->parked < vm->threads)
		pthread_cond_wait(&vm->cond, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

int vmm_start(struct vmm *vm)
{
	vm->hold = true;
	for (unsigned int i = 0; i < vm->cfg.cpus; i++) {
		int err = pthread_create(&vm->vcpus[i].thread, NULL, vmm_vcpu_main, &vm->vcpus[i]);

		if (err)
			return apf_error_set(-err, "vmm: thread of vCPU %u: %s", i, strerror(err));
		pthread_mutex_lock(&vm->lock);
		vm->threads++;
		pthread_mutex_unlock(&vm->lock);
	}
	wait_parked(vm);
	return 0;
}

void vmm_pause(struct vmm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->hold = true;
	pthread_mutex_unlock(&vm->lock);
	kick_all(vm);
	wait_parked(vm);
}

void vmm_resume(struct vmm *vm)
{
	for (unsigned int i = 0; i < vm->cfg.cpus; i++)
		vmm_machine_resume_vcpu(&vm->vcpus[i]);
	pthread_mutex_lock(&vm->lock);
	vm->hold = false;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
}

/*
 * A vCPU may wait deaf to signals: in KVM, when the guest disables KVM's own faults whose pages are on
 * their way, and before Linux 6.2 for any page.
 */
void vmm_cut_off(struct vmm *vm)
{
	if (vm->cfg.delivery != APF_DELIVERY_USER)
		apf_mem_cut_off(vm->mem);
}

void vmm_stop(struct vmm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->stopping = true;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	kick_all(vm);
	if (vm->threads)
		vmm_cut_off(vm);
	for (unsigned int i = 0; i < vm->threads; i++)
		pthread_join(vm->vcpus[i].thread, NULL);
	if (vm->threads)
		vmm_console_drain(&vm->console, DRAIN_MS);
	vm->threads = 0;
}

void vmm_notify(struct vmm *vm)
{
	static const uint64_t one = 1;
	ssize_t n = write(vm->event_fd, &one, sizeof(one));

	(void)n;	/* it is readable already when there is no room */
}

void vmm_finish(struct vmm *vm, enum vmm_end end, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&vm->lock);
	if (vm->end == VMM_RUNNING) {
		va_start(args, fmt);
		vsnprintf(vm->end_text, sizeof(vm->end_text), fmt, args);
		va_end(args);
		vm->end = end;
	}
	pthread_mutex_unlock(&vm->lock);
	vmm_notify(vm);
}

enum vmm_end vmm_ended(struct vmm *vm)
{
	enum vmm_end end;

	pthread_mutex_lock(&vm->lock);
	end = vm->end;
	pthread_mutex_unlock(&vm->lock);
	return end;
}

const char *vmm_end_text(const struct vmm *vm)
{
	return vm->end_text;
}

int vmm_input(struct vmm *vm, const char *bytes, size_t len)
{
	return vmm_serial_feed(&vm->serial, bytes, len);
}

int vmm_event_fd(const struct vmm *vm)
{
	return vm->event_fd;
}

struct vmm_console *vmm_console(struct vmm *vm)
{
	return &vm->console;
}

struct apf_mem *vmm_mem(struct vmm *vm)
{
	return vm->mem;
}

struct apf_kvm *vmm_apf(struct vmm *vm)
{
	return vm->apf;
}

struct apf_kvm_vcpu *vmm_vcpu_apf(const struct vmm *vm, unsigned int id)
{
	return vm->vcpus[id].apf;
}

const struct vmm_config *vmm_get_config(const struct vmm *vm)
{
	return &vm->cfg;
}

pid_t vmm_vcpu_tid(const struct vmm *vm, unsigned int id)
{
	return vm->vcpus[id].tid;
}

uint64_t vmm_first_output_ns(const struct vmm *vm)
{
	return atomic_load(&vm->first_output_ns);
}

int64_t vmm_debug_exit(const struct vmm *vm)
{
	return atomic_load(&vm->debug_exit);
}

uint32_t vmm_outstanding(struct vmm *vm)
{
	struct apf_kvm_stats ks;
	struct apf_mem_stats ms;

	if (vm->cfg.delivery == APF_DELIVERY_USER) {
		apf_kvm_stats(vm->apf, &ks);
		return ks.engine.outstanding;
	}
	apf_mem_stats(vm->mem, &ms);
	return ms.in_flight;
}
