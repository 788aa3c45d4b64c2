/* SPDX-License-Identifier: MIT */
/*
 * The binding on real KVM with a guest of a hundred instructions: all of its RAM,
 * page tables and descriptor tables included, is missing when it starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/kvm.h>

#include <apf/apf.h>

#define RAM		(16u << 20)
#define DATA		0x100000u	/* first page of the data that the guest reads */
#define CODE		0x10000u
#define MAX_EVENTS	4096

extern const uint8_t guest_start[], guest_end[], guest_entry[], guest_pf[], guest_ready[],
	guest_tick[], guest_gp[];

enum scenario { USER_READS, KERNEL_READS, KERNEL_READS_IRQS_OFF, BAD_CONTROL, USER_STRING_OUT };

struct event {
	uint16_t port;
	uint32_t value;
};

struct vm {
	int kvm, fd, vcpu_fd;
	struct kvm_run *run;
	struct apf_mem *mem;
	struct apf_kvm *k;
	struct apf_kvm_vcpu *v;
	struct event ev[MAX_EVENTS];
	unsigned int n;
	struct apf_kvm_stats stats;
};

static char ram_path[] = "/tmp/apf-binding-XXXXXX";

static uint32_t pattern(uint64_t page)
{
	return (uint32_t)(page * 2654435761u) | 1;
}

static void gate(uint8_t *image, unsigned int vector, const uint8_t *handler)
{
	uint64_t at = CODE + (uint64_t)(handler - guest_start);
	uint64_t *d = (uint64_t *)(image + 0x7000 + vector * 16);

	d[0] = (at & 0xffff) | 8u << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
	d[1] = at >> 32;
}

/* Identity map in 2 MiB pages, flat segments, one task state segment, the code, the data. */
static void make_image(uint8_t *image)
{
	uint64_t *pml4 = (uint64_t *)(image + 0x1000), *pdpt = (uint64_t *)(image + 0x2000);
	uint64_t *pd = (uint64_t *)(image + 0x3000), *gdt = (uint64_t *)(image + 0x6000);
	uint64_t rsp0 = 0x1f000;

	pml4[0] = 0x2007;
	pdpt[0] = 0x3007;
	for (uint64_t i = 0; i < 512; i++)
		pd[i] = i << 21 | 0x87;
	gdt[1] = 0x00af9b000000ffff;		/* 0x08 kernel code */
	gdt[2] = 0x00cf93000000ffff;		/* 0x10 kernel data */
	gdt[3] = 0x00008b0080000067;		/* 0x18 TSS at 0x8000 */
	gdt[5] = 0x00cff3000000ffff;		/* 0x28 user data */
	gdt[6] = 0x00affb000000ffff;		/* 0x30 user code */
	memcpy(image + 0x8004, &rsp0, 8);
	gate(image, 13, guest_gp);
	gate(image, 14, guest_pf);
	gate(image, 0xf1, guest_tick);
	gate(image, 0xf3, guest_ready);
	memcpy(image + CODE, guest_start, (size_t)(guest_end - guest_start));
	for (uint64_t at = DATA; at < RAM; at += 4096)
		for (unsigned int i = 0; i < 1024; i++)
			((uint32_t *)(image + at))[i] = pattern(at / 4096);
}

static int make_ram_file(void **state)
{
	uint8_t *image = calloc(1, RAM);
	int fd = mkstemp(ram_path);

	if (!image || fd < 0)
		return -1;
	make_image(image);
	if (write(fd, image, RAM) != RAM)
		return -1;
	close(fd);
	free(image);
	return 0;
}

static int remove_ram_file(void **state)
{
	return unlink(ram_path);
}

static void set_registers(struct vm *vm, enum scenario s, uint64_t first, uint64_t pages)
{
	struct kvm_segment cs = { .limit = 0xffffffff, .selector = 8, .present = 1, .type = 11,
				  .s = 1, .l = 1, .g = 1 };
	struct kvm_segment ds = cs, tr = { .base = 0x8000, .limit = 0x67, .selector = 0x18,
					   .present = 1, .type = 11 };
	struct kvm_regs r = { .rip = CODE + (uint64_t)(guest_entry - guest_start), .rflags = 2,
			      .rsp = 0x1f000, .rdi = s, .rsi = first, .rdx = pages };
	struct kvm_sregs sr;

	assert_int_equal(ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sr), 0);
	ds.type = 3;
	ds.l = 0;
	ds.db = 1;
	ds.selector = 0x10;
	sr.cs = cs;
	sr.ds = sr.es = sr.fs = sr.gs = sr.ss = ds;
	sr.tr = tr;
	sr.gdt = (struct kvm_dtable){ .base = 0x6000, .limit = 7 * 8 - 1 };
	sr.idt = (struct kvm_dtable){ .base = 0x7000, .limit = 0xfff };
	sr.cr3 = 0x1000;
	sr.cr4 = 0x20;
	sr.cr0 = 0x80050033;
	sr.efer = 0x500;
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sr), 0);
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_REGS, &r), 0);
}

static void set_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	assert_int_equal(ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, c), 0);
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == 1)
			c->entries[i].ecx |= 1u << 21;	/* x2APIC */
	apf_kvm_cpuid(vm->k, c);
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_CPUID2, c), 0);
	free(c);
}

static void make_memory(struct vm *vm, enum apf_trap trap, const char *filters)
{
	struct apf_mem_config mc = { .size = RAM, .trap = trap, .done = apf_kvm_pages_done,
				     .ctx = &vm->k };
	char spec[256];

	snprintf(spec, sizeof(spec), "%sfile:%s", filters, ram_path);
	assert_int_equal(apf_store_open(spec, &mc.store), 0);
	assert_int_equal(apf_mem_create(&mc, &vm->mem), 0);
}

static struct vm *make_vm(enum apf_delivery delivery, enum scenario s, const char *filters,
			  uint64_t first, uint64_t pages)
{
	struct apf_kvm_slot slot = { .gpa = 0, .size = RAM, .offset = 0 };
	struct apf_kvm_config kc = { .slots = &slot, .nr_slots = 1, .delivery = delivery,
				     .max_vcpus = 1 };
	struct kvm_userspace_memory_region mr = { .memory_size = RAM };
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	assert_true(vm->fd >= 0);
	ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	assert_int_equal(ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), 0);
	make_memory(vm, delivery == APF_DELIVERY_USER ? APF_TRAP_POISON : APF_TRAP_BLOCK, filters);
	mr.userspace_addr = (uint64_t)apf_mem_view_a(vm->mem);
	assert_int_equal(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &mr), 0);
	kc.kvm_fd = vm->kvm;
	kc.vm_fd = vm->fd;
	kc.mem = vm->mem;
	if (apf_kvm_create(&kc, &vm->k))
		fail_msg("%s", apf_error());
	vm->vcpu_fd = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	vm->run = mmap(NULL, (size_t)ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
		       PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	set_cpuid(vm);
	set_registers(vm, s, first, pages);
	assert_int_equal(apf_kvm_vcpu_add(vm->k, 0, vm->vcpu_fd, vm->run, &vm->v), 0);
	assert_int_equal(apf_kvm_vcpu_attach(vm->v), 0);
	return vm;
}

static void free_vm(struct vm *vm)
{
	apf_kvm_stats(vm->k, &vm->stats);
	apf_mem_destroy(vm->mem);
	apf_kvm_destroy(vm->k);
	munmap(vm->run, (size_t)ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vm->vcpu_fd);
	close(vm->fd);
	close(vm->kvm);
}

/* Run until the guest says "end" or the binding says no; collects the port writes. */
static int run_vm(struct vm *vm)
{
	for (;;) {
		int r = apf_kvm_run(vm->v);
		struct event *e = &vm->ev[vm->n];

		if (r)
			return r;
		if (vm->run->exit_reason != KVM_EXIT_IO)
			fail_msg("exit reason %u", vm->run->exit_reason);
		for (uint32_t i = 0; i < vm->run->io.count && vm->n < MAX_EVENTS; i++, vm->n++, e++) {
			e->port = vm->run->io.port;
			memcpy(&e->value, (uint8_t *)vm->run + vm->run->io.data_offset + 4 * i, 4);
		}
		if (vm->ev[vm->n - 1].port == 0x506 || vm->n >= MAX_EVENTS)
			return 0;
	}
}

static unsigned int count(const struct vm *vm, uint16_t port)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < vm->n; i++)
		n += vm->ev[i].port == port;
	return n;
}

/* The values read are those of the pages first, first + 1, ..., each `times` times. */
static void check_values(const struct vm *vm, uint64_t first, unsigned int pages, unsigned int times)
{
	unsigned int seen = 0;

	for (unsigned int i = 0; i < vm->n; i++)
		if (vm->ev[i].port == 0x504)
			assert_int_equal(vm->ev[i].value, pattern(first / 4096 + seen++ / times));
	assert_int_equal(seen, pages * times);
}

static void test_C1_C11_N3_N4_user_reads_get_NP_and_ready_with_the_same_token(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, USER_READS, "latency:2ms,", DATA, 32);
	uint32_t token = 0;

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 32, 1);
	assert_int_equal(count(vm, 0x500), 32);
	assert_int_equal(count(vm, 0x50a), 0);
	for (unsigned int i = 0; i < vm->n; i++) {
		if (vm->ev[i].port == 0x500)
			token = vm->ev[i].value;
		if (vm->ev[i].port == 0x502 && vm->ev[i].value != UINT32_MAX)
			assert_int_equal(vm->ev[i].value, token);
	}
	free_vm(vm);
	assert_int_equal(vm->stats.engine.np, 32);
	assert_int_equal(vm->stats.engine.ready, 32);
	free(vm);
}

static void test_N6_N7_wake_all_waits_for_the_APIC_and_comes_once(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, USER_READS, "latency:1ms,", DATA, 4);

	assert_int_equal(run_vm(vm), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.broadcasts, 1);
	assert_true(vm->stats.msi_blocked > 0);
	free(vm);
}

static void test_C4a_timer_interrupts_are_served_while_the_vcpu_is_halted(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, KERNEL_READS, "latency:60ms,", DATA, 4);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 4, 1);
	assert_int_equal(count(vm, 0x500), 0);
	assert_true(count(vm, 0x508) >= 8);
	free_vm(vm);
	assert_true(vm->stats.engine.halts >= 4);
	free(vm);
}

static void test_C4b_with_interrupts_off_the_vcpu_waits_and_serves_nothing(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, KERNEL_READS_IRQS_OFF, "latency:5ms,", DATA, 8);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 8, 1);
	assert_int_equal(count(vm, 0x500) + count(vm, 0x508), 0);
	free_vm(vm);
	assert_true(vm->stats.engine.waits >= 8);
	free(vm);
}

static void test_N1_N5_N7_bad_control_writes_are_GP(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, BAD_CONTROL, "", DATA, 1);

	assert_int_equal(run_vm(vm), 0);
	assert_int_equal(count(vm, 0x50c), 5);
	free_vm(vm);
	free(vm);
}

static void test_emulated_string_output_from_missing_pages_reads_the_right_bytes(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, USER_STRING_OUT, "latency:1ms,", DATA, 16);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 16, 2);
	free_vm(vm);
	assert_true(vm->stats.emulated >= 16);
	free(vm);
}

static void test_N10_a_page_lost_for_good_stops_the_run_and_is_named(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, USER_READS, "error:rate=1:pages=258-258,", DATA, 8);

	assert_int_equal(run_vm(vm), -EIO);
	check_values(vm, DATA, 2, 1);
	assert_int_equal(apf_kvm_lost(vm->v), 258 * 4096);
	assert_non_null(strstr(apf_error(), "258"));
	free_vm(vm);
	free(vm);
}

static void test_mode_sync_blocks_and_verifies(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_SYNC, USER_READS, "latency:1ms,", DATA, 8);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 8, 1);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.np, 0);
	free(vm);
}

static void test_a_kick_returns_and_the_run_goes_on_after_it(void **state)
{
	struct vm *vm = make_vm(APF_DELIVERY_USER, USER_READS, "latency:1ms,", DATA, 8);

	apf_kvm_kick(vm->v);
	assert_int_equal(apf_kvm_run(vm->v), -EINTR);
	assert_int_equal(run_vm(vm), 0);
	check_values(vm, DATA, 8, 1);
	free_vm(vm);
	free(vm);
}

/* C12: what was outstanding in one VM is answered in the next one. */
static void test_C12_C13_saved_with_an_outstanding_fault_the_ready_comes_after_the_load(void **state)
{
	struct vm *a = make_vm(APF_DELIVERY_USER, USER_READS, "latency:300ms,", DATA, 4);
	struct apf_vcpu_stats s;
	uint8_t bytes[4096];
	uint32_t mp = KVM_MP_STATE_RUNNABLE;
	size_t n;

	while (!count(a, 0x500)) {
		assert_int_equal(apf_kvm_run(a->v), 0);
		a->ev[a->n].port = a->run->io.port;
		memcpy(&a->ev[a->n++].value, (uint8_t *)a->run + a->run->io.data_offset, 4);
	}
	apf_kvm_freeze(a->k, true);
	n = apf_kvm_vcpu_save(a->v, bytes, sizeof(bytes), &mp);
	assert_true(n > 0 && n <= sizeof(bytes));
	apf_kvm_vcpu_stats(a->v, &s);
	assert_int_equal(s.outstanding, 1);
	free_vm(a);
	free(a);

	struct vm *b = make_vm(APF_DELIVERY_USER, USER_READS, "latency:1ms,", DATA, 1);

	assert_int_equal(apf_mem_need(b->mem, 0x30, 1), 0);
	assert_int_equal(apf_kvm_vcpu_load(b->v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(apf_mem_need(b->mem, DATA / 4096, 1), 0);
	usleep(20000);
	apf_kvm_vcpu_stats(b->v, &s);
	assert_int_equal(s.broadcasts, 0);
	assert_int_equal(s.outstanding, 0);
	assert_int_equal(s.ready + s.queued, 1);
	free_vm(b);
	free(b);
}

/*
 * A para-virtual KVM walks the guest's page tables in software and does not trap
 * there, and this guest starts with its tables missing.
 */
static bool on_hardware(void)
{
	return !access("/sys/module/kvm_amd", F_OK) || !access("/sys/module/kvm_intel", F_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C1_C11_N3_N4_user_reads_get_NP_and_ready_with_the_same_token),
		cmocka_unit_test(test_N6_N7_wake_all_waits_for_the_APIC_and_comes_once),
		cmocka_unit_test(test_C4a_timer_interrupts_are_served_while_the_vcpu_is_halted),
		cmocka_unit_test(test_C4b_with_interrupts_off_the_vcpu_waits_and_serves_nothing),
		cmocka_unit_test(test_N1_N5_N7_bad_control_writes_are_GP),
		cmocka_unit_test(test_emulated_string_output_from_missing_pages_reads_the_right_bytes),
		cmocka_unit_test(test_N10_a_page_lost_for_good_stops_the_run_and_is_named),
		cmocka_unit_test(test_mode_sync_blocks_and_verifies),
		cmocka_unit_test(test_a_kick_returns_and_the_run_goes_on_after_it),
		cmocka_unit_test(test_C12_C13_saved_with_an_outstanding_fault_the_ready_comes_after_the_load),
	};
	struct apf_mem_probe mp;
	struct apf_kvm_probe kp;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0 || !on_hardware() || apf_kvm_probe(kvm, &kp) || !kp.user_msr ||
	    !kp.exception_payload || apf_mem_probe(&mp) || !mp.poison) {
		printf("1..0 # SKIP no KVM on hardware here, or no UFFDIO_POISON: run it in the lab\n");
		return 0;
	}
	close(kvm);
	return cmocka_run_group_tests(tests, make_ram_file, remove_ram_file);
}
