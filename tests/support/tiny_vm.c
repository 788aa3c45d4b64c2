/* SPDX-License-Identifier: MIT */
/* The part of the test's virtual machine that knows no processor; see tiny_vm.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tiny_vm.h"

static char ram_path[] = "/tmp/apf-binding-XXXXXX";

static uint32_t pattern(uint64_t page)
{
	return (uint32_t)(page * 2654435761u) | 1;
}

int make_ram_file(void **state)
{
	uint8_t *image = calloc(1, RAM);
	int fd = mkstemp(ram_path);

	if (!image || fd < 0)
		return -1;
	machine_image(image);
	for (uint64_t at = DATA; at < RAM; at += 4)
		*(uint32_t *)(image + at) = pattern(at / PAGE);
	if (write(fd, image, RAM) != RAM)
		return -1;
	close(fd);
	free(image);
	return 0;
}

int remove_ram_file(void **state)
{
	return unlink(ram_path);
}

static void make_memory(struct vm *vm)
{
	struct apf_mem_config mc = { .size = RAM,
				     .trap = vm->o.sync ? APF_TRAP_BLOCK : APF_TRAP_POISON };
	char spec[256];

	snprintf(spec, sizeof(spec), "%sfile:%s", vm->o.filters ? vm->o.filters : "", ram_path);
	assert_int_equal(apf_store_open(spec, &mc.store), 0);
	assert_int_equal(apf_mem_create(&mc, &vm->mem), 0);
	set_half(vm, 0, true, 0);
	set_half(vm, 1, true, 0);
}

void set_half(struct vm *vm, unsigned int half, bool there, uint32_t flags)
{
	struct kvm_userspace_memory_region mr = {
		.slot = half,
		.flags = flags,
		.guest_phys_addr = machine_ram + half * HALF,
		.memory_size = there ? HALF : 0,
		.userspace_addr = (uint64_t)apf_mem_view_a(vm->mem) + half * HALF,
	};

	assert_int_equal(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &mr), 0);
}

static void bind_vm(struct vm *vm)
{
	struct apf_kvm_slot slot = { .gpa = machine_ram, .size = RAM, .offset = 0 };
	struct apf_kvm_config kc = {
		.kvm_fd = vm->kvm,
		.vm_fd = vm->fd,
		.mem = vm->mem,
		.slots = &slot,
		.nr_slots = 1,
		.delivery = vm->o.sync ? APF_DELIVERY_SYNC : APF_DELIVERY_USER,
		.abi = vm->o.abi,
		.max_vcpus = MAX_VCPUS,
	};

	if (apf_kvm_create(&kc, &vm->k))
		fail_msg("%s", apf_error());
}

static void make_vcpu(struct vm *vcpu)
{
	vcpu->vcpu_fd = ioctl(vcpu->fd, KVM_CREATE_VCPU, vcpu->id);
	vcpu->run = mmap(NULL, (size_t)ioctl(vcpu->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
			 PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->vcpu_fd, 0);
	assert_ptr_not_equal(vcpu->run, MAP_FAILED);
	machine_vcpu(vcpu);
	assert_int_equal(apf_kvm_vcpu_add(vcpu->k, vcpu->id, vcpu->vcpu_fd, vcpu->run, &vcpu->v), 0);
}

static void make_others(struct vm *vm)
{
	for (unsigned int id = 1; id < vm->o.vcpus; id++) {
		struct vm *vcpu = malloc(sizeof(*vcpu));

		*vcpu = *vm;
		vcpu->id = id;
		vcpu->o.first += (uint64_t)id * vm->o.pages * (uint64_t)sysconf(_SC_PAGESIZE);
		make_vcpu(vcpu);
		vm->other[id - 1] = vcpu;
	}
}

struct vm *make_vm(const struct options *o)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->o = *o;
	if (!vm->o.first)
		vm->o.first = DATA;
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	assert_true(vm->fd >= 0);
	machine_create(vm);
	make_memory(vm);
	bind_vm(vm);
	make_vcpu(vm);
	make_others(vm);
	machine_start(vm);
	assert_int_equal(apf_kvm_vcpu_attach(vm->v), 0);
	return vm;
}

static void free_vcpu(struct vm *vcpu)
{
	munmap(vcpu->run, (size_t)ioctl(vcpu->kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu->vcpu_fd);
}

void free_vm(struct vm *vm)
{
	apf_kvm_stats(vm->k, &vm->stats);
	apf_mem_destroy(vm->mem);
	apf_kvm_destroy(vm->k);
	for (unsigned int i = 0; i < MAX_VCPUS - 1 && vm->other[i]; i++) {
		free_vcpu(vm->other[i]);
		free(vm->other[i]);
	}
	free_vcpu(vm);
	close(vm->fd);
	close(vm->kvm);
}

int run_until(struct vm *vm, unsigned int what)
{
	while (vm->n <= MAX_EVENTS - 8) {
		int r = apf_kvm_run(vm->v);
		unsigned int from = vm->n;

		if (r)
			return r;
		vm->n += machine_events(vm, &vm->ev[from]);
		for (unsigned int i = from; i < vm->n; i++)
			if (vm->ev[i].what == what || vm->ev[i].what == EV_END)
				return 0;
	}
	fail_msg("more than %u events", MAX_EVENTS);
	return 0;
}

int run_vm(struct vm *vm)
{
	return run_until(vm, EV_END);
}

static void *run_other(void *arg)
{
	struct vm *vcpu = arg;

	vcpu->result = apf_kvm_vcpu_attach(vcpu->v);
	if (!vcpu->result)
		vcpu->result = run_vm(vcpu);
	apf_kvm_vcpu_detach(vcpu->v);
	return NULL;
}

void run_all(struct vm *vm)
{
	pthread_t thread[MAX_VCPUS - 1];
	unsigned int n;

	for (n = 0; n < MAX_VCPUS - 1 && vm->other[n]; n++)
		assert_int_equal(pthread_create(&thread[n], NULL, run_other, vm->other[n]), 0);
	vm->result = run_vm(vm);
	while (n--)
		pthread_join(thread[n], NULL);
}

struct kicker {
	struct vm *vm;
	unsigned int ms;
};

static void *kick_later(void *arg)
{
	const struct kicker *k = arg;

	usleep(k->ms * 1000);
	apf_kvm_kick(k->vm->v);
	return NULL;
}

int run_for(struct vm *vm, unsigned int ms)
{
	struct kicker k = { vm, ms };
	pthread_t thread;
	int r;

	assert_int_equal(pthread_create(&thread, NULL, kick_later, &k), 0);
	r = run_vm(vm);
	pthread_join(thread, NULL);
	return r;
}

unsigned int count(const struct vm *vm, unsigned int what)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < vm->n; i++)
		n += vm->ev[i].what == what;
	return n;
}

void check_values(const struct vm *vm, unsigned int times)
{
	const uint64_t per_page = (uint64_t)sysconf(_SC_PAGESIZE) / PAGE;
	unsigned int seen = 0;

	for (unsigned int i = 0; i < vm->n; i++)
		if (vm->ev[i].what == EV_VALUE)
			assert_int_equal(vm->ev[i].value, pattern(vm->o.first / PAGE +
								  seen++ / times * per_page));
	assert_int_equal(seen, vm->o.pages * times);
}

void check_tokens(const struct vm *vm)
{
	uint32_t token = 0;

	for (unsigned int i = 0; i < vm->n; i++) {
		if (vm->ev[i].what == EV_NP)
			token = vm->ev[i].value;
		if (vm->ev[i].what == EV_READY && vm->ev[i].value != UINT32_MAX)
			assert_int_equal(vm->ev[i].value, token);
	}
}

uint32_t mp_state(const struct vm *vm)
{
	struct kvm_mp_state mp;

	assert_int_equal(ioctl(vm->vcpu_fd, KVM_GET_MP_STATE, &mp), 0);
	return mp.mp_state;
}
