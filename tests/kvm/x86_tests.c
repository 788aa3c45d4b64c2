/* SPDX-License-Identifier: MIT */
/* The binding on x86: its interrupts, its emulator, its other generations. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "binding.h"

static void test_N3_N4_user_reads_get_a_reason_word_and_a_token_word(void **state)
{
	struct vm *vm = VM(.scenario = USER_READS, .filters = "latency:2ms,", .pages = 32);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.why[APF_WHY_BUSY], 0);
	assert_int_equal(vm->stats.engine.ready, 32);
	free(vm);
}

static void test_N6_N7_wake_all_waits_for_the_APIC_and_comes_once(void **state)
{
	struct vm *vm = VM(.scenario = USER_READS, .filters = "latency:1ms,", .pages = 4);

	assert_int_equal(run_vm(vm), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.broadcasts, 1);
	assert_true(vm->stats.msi_blocked > 0);
	free(vm);
}

static void test_N1_N5_N7_bad_control_writes_are_GP(void **state)
{
	struct vm *vm = VM(.scenario = BAD_CONTROL, .pages = 1);

	assert_int_equal(run_vm(vm), 0);
	assert_int_equal(count(vm, EV_RESULT), 5);
	free_vm(vm);
	free(vm);
}

static void test_emulated_string_output_from_missing_pages_reads_the_right_bytes(void **state)
{
	struct vm *vm = VM(.scenario = X86_STRING_OUT, .filters = "latency:1ms,", .pages = 16);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 2);
	free_vm(vm);
	assert_true(vm->stats.emulated >= 16);
	free(vm);
}

/*
 * NP and ready of every page, with the same token, however the ready comes. The first
 * read may find the wake-all still on its way and halt.
 */
static void notified(enum apf_abi_id abi, enum scenario scenario)
{
	struct vm *vm = VM(.abi = abi, .scenario = scenario, .filters = "latency:2ms,", .pages = 16);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	assert_in_range(count(vm, EV_NP), 15, 16);
	assert_int_equal(count(vm, EV_READY), count(vm, EV_NP) + 1);	/* the wake-all: L10, I3 */
	assert_int_equal(count(vm, EV_FAULT), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.ready, vm->stats.engine.np);
	free(vm);
}

static void test_L4_L5_2010_ready_is_a_PF_into_the_running_guest(void **state)
{
	notified(APF_ABI_X86_2010, USER_READS);
}

static void test_L11_2010_ready_is_a_PF_that_ends_the_guests_own_HLT(void **state)
{
	notified(APF_ABI_X86_2010, USER_READS_HALTING);
}

static void test_I1_I5_rfc_ready_is_an_interrupt(void **state)
{
	notified(APF_ABI_X86_RFC, USER_READS);
}

static void test_L11_rfc_ready_is_an_interrupt_that_ends_the_guests_own_HLT(void **state)
{
	notified(APF_ABI_X86_RFC, USER_READS_HALTING);
}

static void test_I4_rfc_NP_is_a_wait_while_the_slot_is_taken(void **state)
{
	struct vm *vm = VM(.abi = APF_ABI_X86_RFC, .scenario = X86_SLOT_TAKEN,
			   .filters = "latency:2ms,", .pages = 4);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	assert_int_equal(count(vm, EV_NP), 3);
	free_vm(vm);
	assert_true(vm->stats.engine.why[APF_WHY_BUSY] >= 1);
	free(vm);
}

/* The guest takes the reason of an NP after it has told of it; till then no ready comes. */
static void test_I4_rfc_ready_waits_until_the_slot_is_free(void **state)
{
	struct vm *vm = VM(.abi = APF_ABI_X86_RFC, .scenario = USER_READS, .filters = "latency:1ms,",
			   .pages = 2);
	struct apf_vcpu_stats s;

	assert_int_equal(run_until(vm, EV_NP), 0);
	assert_int_equal(count(vm, EV_NP), 1);
	assert_int_equal(apf_mem_need(vm->mem, DATA / PAGE, 1), 0);
	usleep(20000);				/* a few looks by the timer */
	apf_kvm_vcpu_stats(vm->v, &s);
	assert_int_equal(s.queued, 1);
	assert_int_equal(s.ready, 0);
	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.ready, 2);
	free(vm);
}

static bool hlt_exits_can_be_off(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int exits = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);

	close(kvm);
	return exits > 0 && exits & KVM_X86_DISABLE_EXITS_HLT;
}

/* Whatever this KVM lets be seen of it must be enough: with HLT exits it halts here. */
static void test_C4_without_HLT_exits_a_vcpu_waits_where_it_would_halt(void **state)
{
	struct vm *vm;

	if (!hlt_exits_can_be_off()) {
		print_message("# this KVM's HLT always exits\n");
		return;
	}
	vm = VM(.scenario = KERNEL_READS, .filters = "latency:60ms,", .pages = 100, .no_hlt_exits = true);
	assert_int_equal(run_for(vm, 4000), -EINTR);
	assert_int_equal(mp_state(vm), KVM_MP_STATE_RUNNABLE);
	free_vm(vm);
	assert_true(vm->stats.engine.halts > 0);
	free(vm);
}

const struct CMUnitTest machine_tests[] = {
	cmocka_unit_test(test_N3_N4_user_reads_get_a_reason_word_and_a_token_word),
	cmocka_unit_test(test_N6_N7_wake_all_waits_for_the_APIC_and_comes_once),
	cmocka_unit_test(test_N1_N5_N7_bad_control_writes_are_GP),
	cmocka_unit_test(test_C4_without_HLT_exits_a_vcpu_waits_where_it_would_halt),
	cmocka_unit_test(test_emulated_string_output_from_missing_pages_reads_the_right_bytes),
	cmocka_unit_test(test_L4_L5_2010_ready_is_a_PF_into_the_running_guest),
	cmocka_unit_test(test_L11_2010_ready_is_a_PF_that_ends_the_guests_own_HLT),
	cmocka_unit_test(test_I1_I5_rfc_ready_is_an_interrupt),
	cmocka_unit_test(test_L11_rfc_ready_is_an_interrupt_that_ends_the_guests_own_HLT),
	cmocka_unit_test(test_I4_rfc_NP_is_a_wait_while_the_slot_is_taken),
	cmocka_unit_test(test_I4_rfc_ready_waits_until_the_slot_is_free),
};
const unsigned int machine_test_count = sizeof(machine_tests) / sizeof(*machine_tests);
