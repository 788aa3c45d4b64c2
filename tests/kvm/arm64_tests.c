/* SPDX-License-Identifier: MIT */
/* The binding on arm64: calls, both revisions, the second slot, CPUs that go off. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <abi/apf_abi_arm64.h>
#include <apf/error.h>

#include "binding.h"

#define FIRST_REVISION	APF_ARM64_ENABLED
#define SECOND_REVISION	(APF_ARM64_ENABLED | APF_ARM64_INT)

/* NP and ready of every page, with the same token; the wake-all comes before (A9). */
static void notified(uint32_t enable, enum scenario scenario)
{
	struct vm *vm = VM(.enable = enable, .scenario = scenario, .filters = "latency:2ms,",
			   .pages = 16);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	assert_in_range(count(vm, EV_NP), 15, 16);
	assert_int_equal(count(vm, EV_READY), count(vm, EV_NP) + 1);
	assert_int_equal(count(vm, EV_FAULT), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.ready, vm->stats.engine.np);
	free(vm);
}

static void test_A5_A12_first_revision_ready_is_an_abort_at_EL0(void **state)
{
	notified(FIRST_REVISION, USER_READS);
}

static void test_A6_A10_first_revision_ready_at_EL1_outside_the_regions(void **state)
{
	notified(FIRST_REVISION | WITH_REGIONS, USER_READS);
}

static void test_A8_L11_first_revision_ready_ends_the_guests_own_WFI(void **state)
{
	notified(FIRST_REVISION | WITH_REGIONS, USER_READS_HALTING);
}

static void test_A16_second_revision_ready_is_a_PPI(void **state)
{
	notified(SECOND_REVISION, USER_READS);
}

static void test_A7_a_write_fault_is_resolved_for_writing(void **state)
{
	notified(FIRST_REVISION, ARM64_USER_WRITES);
	notified(SECOND_REVISION, ARM64_USER_WRITES);
}

static bool has_aarch32(void)
{
	struct vm *vm = VM(.pages = 1);
	uint64_t pfr0 = 0;
	struct kvm_one_reg r = { .id = ARM64_SYS_REG(3, 0, 0, 4, 0), .addr = (uintptr_t)&pfr0 };

	assert_int_equal(ioctl(vm->vcpu_fd, KVM_GET_ONE_REG, &r), 0);
	free_vm(vm);
	free(vm);
	return (pfr0 & 0xf) == 2;
}

static void test_A4_an_AArch32_task_is_notified_with_a_32_bit_token(void **state)
{
	if (!has_aarch32()) {
		print_message("# this CPU has no AArch32\n");
		return;
	}
	notified(FIRST_REVISION, ARM64_USER32_READS);
	notified(SECOND_REVISION, ARM64_USER32_READS);
}

/* A vCPU of another VM, since KVM lets no VM have both kinds. */
static void test_A12_a_kernel_in_AArch32_is_refused(void **state)
{
	struct vm *vm = VM(.pages = 1);
	struct apf_kvm_vcpu *v = NULL;
	struct kvm_vcpu_init init;
	int other = ioctl(vm->kvm, KVM_CREATE_VM, 0), fd = ioctl(other, KVM_CREATE_VCPU, 0);

	assert_int_equal(ioctl(other, KVM_ARM_PREFERRED_TARGET, &init), 0);
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2 | 1u << KVM_ARM_VCPU_EL1_32BIT;
	if (ioctl(fd, KVM_ARM_VCPU_INIT, &init) == 0) {
		assert_int_equal(apf_kvm_vcpu_add(vm->k, 1, fd, vm->run, &v), -EOPNOTSUPP);
		assert_non_null(strstr(apf_error(), "AArch32"));
		assert_null(v);
	} else {
		print_message("# this CPU has no AArch32 kernels\n");
	}
	close(fd);
	close(other);
	free_vm(vm);
	free(vm);
}

static uint32_t result(const struct vm *vm, unsigned int number)
{
	for (unsigned int i = 0; i < vm->n; i++)
		if (vm->ev[i].what == EV_RESULT && !number--)
			return vm->ev[i].value;
	fail_msg("too few results");
	return 0;
}

static void test_A1_A3_A13_calls_by_HVC_and_SMC(void **state)
{
	struct vm *vm = VM(.scenario = BAD_CONTROL, .pages = 1);

	assert_int_equal(run_vm(vm), 0);
	assert_int_equal(result(vm, 0), APF_ARM64_SUCCESS);
	assert_int_equal(result(vm, 1), (uint32_t)APF_ARM64_NOT_SUPPORTED);
	assert_int_equal(result(vm, 2), (uint32_t)APF_ARM64_INVALID_PARAMETER);
	assert_int_equal(result(vm, 3), (uint32_t)APF_ARM64_INVALID_PARAMETER);
	assert_int_equal(result(vm, 4), (uint32_t)APF_ARM64_NOT_SUPPORTED);
	assert_int_equal(result(vm, 5), (uint32_t)APF_ARM64_NOT_REQUIRED);
	assert_int_equal(result(vm, 6), APF_ARM64_SUCCESS);
	assert_int_equal(result(vm, 7), APF_ARM64_VERSION);
	assert_int_equal(result(vm, 8), 22);
	assert_int_equal(result(vm, 9) & 3, 3);		/* the call itself, and PTP */
	assert_int_equal(result(vm, 10), 1);		/* ours */
	free_vm(vm);
	free(vm);
}

static void test_A1_mode_sync_announces_nothing_and_answers(void **state)
{
	struct vm *vm = VM(.sync = true, .scenario = BAD_CONTROL, .pages = 1);

	assert_int_equal(run_vm(vm), 0);
	assert_int_equal(result(vm, 0), APF_ARM64_SUCCESS);
	assert_int_equal(result(vm, 5), (uint32_t)APF_ARM64_NOT_REQUIRED);
	assert_int_equal(result(vm, 9) & 3, 3);
	assert_int_equal(result(vm, 10), 0);
	free_vm(vm);
	free(vm);
}

/* The slot is not what it was when the page comes: ready all the same, and nothing breaks. */
static void slot_changes(enum scenario scenario, bool there, uint32_t flags)
{
	struct vm *vm = VM(.scenario = scenario, .filters = "latency:20ms,", .first = HALF,
			   .pages = 4);

	assert_int_equal(run_until(vm, EV_NP), 0);
	assert_int_equal(count(vm, EV_NP), 1);
	set_half(vm, 1, false, 0);
	if (there)
		set_half(vm, 1, true, flags);
	do
		assert_int_equal(run_until(vm, EV_READY), 0);
	while (vm->ev[vm->n - 1].value == UINT32_MAX);
	assert_int_equal(vm->ev[vm->n - 1].what, EV_READY);
	if (there)
		set_half(vm, 1, false, 0);
	set_half(vm, 1, true, 0);
	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.ready, vm->stats.engine.np);
	free(vm);
}

static void test_A7_a_memory_slot_removed_between_NP_and_ready(void **state)
{
	slot_changes(USER_READS, false, 0);
	slot_changes(ARM64_USER_WRITES, false, 0);
}

static void test_A7_a_memory_slot_made_read_only_between_NP_and_ready(void **state)
{
	slot_changes(USER_READS, true, KVM_MEM_READONLY);
	slot_changes(ARM64_USER_WRITES, true, KVM_MEM_READONLY);
}

static void test_C10_a_CPU_that_goes_off_drops_what_is_outstanding(void **state)
{
	struct vm *vm = VM(.scenario = ARM64_CPU_OFF, .filters = "latency:100ms,", .pages = 4);
	struct apf_vcpu_stats s;

	assert_int_equal(run_until(vm, EV_NP), 0);
	apf_kvm_vcpu_stats(vm->v, &s);
	assert_int_equal(s.outstanding, 1);
	assert_int_equal(run_for(vm, 200), -EINTR);	/* the page has come meanwhile */
	assert_int_equal(mp_state(vm), KVM_MP_STATE_STOPPED);
	apf_kvm_vcpu_stats(vm->v, &s);
	assert_int_equal(s.outstanding + s.queued, 0);
	assert_int_equal(s.ready, 0);
	assert_int_equal(count(vm, EV_FAULT), 0);
	free_vm(vm);
	free(vm);
}

/* CPU_ON and CPU_OFF are KVM's: in its second life it enables as if for the first time. */
static void test_C10_a_CPU_switched_on_again_starts_without_APF(void **state)
{
	struct vm *vm = VM(.scenario = ARM64_CPU_ON, .filters = "latency:20ms,", .pages = 4,
			   .vcpus = 2, .others_off = true);
	struct vm *second = vm->other[0];

	run_all(vm);
	assert_int_equal(vm->result, 0);
	assert_int_equal(second->result, 0);
	assert_int_equal(result(vm, 1) | result(vm, 2), 0);		/* CPU_ON */
	assert_int_equal(result(second, 0), APF_ARM64_SUCCESS);
	assert_int_equal(result(second, 1), APF_ARM64_SUCCESS);
	second->o.first = vm->o.first;
	check_values(second, 1);
	check_tokens(second);
	assert_int_equal(count(second, EV_FAULT), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.broadcasts, 3);
	free(vm);
}

static void test_C4a_1000_halts_of_4_vcpus_among_timer_interrupts_lose_nothing(void **state)
{
	struct vm *vm = VM(.scenario = KERNEL_READS, .filters = "latency:10ms,", .pages = 230,
			   .vcpus = 4);

	run_all(vm);
	assert_int_equal(vm->result, 0);
	check_values(vm, 1);
	assert_true(count(vm, EV_TICK) > 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(vm->other[i]->result, 0);
		check_values(vm->other[i], 1);
		assert_true(count(vm->other[i], EV_TICK) > 0);
	}
	free_vm(vm);
	assert_true(vm->stats.engine.halts >= 1000);
	free(vm);
}

const struct CMUnitTest machine_tests[] = {
	cmocka_unit_test(test_A5_A12_first_revision_ready_is_an_abort_at_EL0),
	cmocka_unit_test(test_A6_A10_first_revision_ready_at_EL1_outside_the_regions),
	cmocka_unit_test(test_A8_L11_first_revision_ready_ends_the_guests_own_WFI),
	cmocka_unit_test(test_A16_second_revision_ready_is_a_PPI),
	cmocka_unit_test(test_A7_a_write_fault_is_resolved_for_writing),
	cmocka_unit_test(test_A12_a_kernel_in_AArch32_is_refused),
	cmocka_unit_test(test_A4_an_AArch32_task_is_notified_with_a_32_bit_token),
	cmocka_unit_test(test_A1_A3_A13_calls_by_HVC_and_SMC),
	cmocka_unit_test(test_A1_mode_sync_announces_nothing_and_answers),
	cmocka_unit_test(test_A7_a_memory_slot_removed_between_NP_and_ready),
	cmocka_unit_test(test_A7_a_memory_slot_made_read_only_between_NP_and_ready),
	cmocka_unit_test(test_C10_a_CPU_that_goes_off_drops_what_is_outstanding),
	cmocka_unit_test(test_C10_a_CPU_switched_on_again_starts_without_APF),
	cmocka_unit_test(test_C4a_1000_halts_of_4_vcpus_among_timer_interrupts_lose_nothing),
};
const unsigned int machine_test_count = sizeof(machine_tests) / sizeof(*machine_tests);
