/* SPDX-License-Identifier: MIT */
/*
 * The binding on real KVM: what holds on every processor. x86_tests.c and
 * arm64_tests.c add their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "binding.h"

static void test_C1_C11_user_reads_get_NP_and_ready_with_the_same_token(void **state)
{
	struct vm *vm = VM(.scenario = USER_READS, .filters = "latency:2ms,", .pages = 32);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	assert_int_equal(count(vm, EV_NP), 32);
	assert_int_equal(count(vm, EV_FAULT), 0);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.np, 32);
	assert_int_equal(vm->stats.engine.ready, 32);
	free(vm);
}

static void test_L11_a_ready_ends_the_guests_own_halt(void **state)
{
	struct vm *vm = VM(.scenario = USER_READS_HALTING, .filters = "latency:5ms,", .pages = 16);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	check_tokens(vm);
	assert_int_equal(count(vm, EV_NP), 16);
	free_vm(vm);
	free(vm);
}

static void test_C4a_timer_interrupts_are_served_while_the_vcpu_is_halted(void **state)
{
	struct vm *vm = VM(.scenario = KERNEL_READS, .filters = "latency:60ms,", .pages = 4);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	assert_int_equal(count(vm, EV_NP), 0);
	assert_true(count(vm, EV_TICK) >= 8);
	free_vm(vm);
	assert_true(vm->stats.engine.halts >= 4);
	free(vm);
}

static void test_C4a_900_halts_among_timer_interrupts_lose_nothing(void **state)
{
	struct vm *vm = VM(.scenario = KERNEL_READS, .filters = "latency:2ms,", .pages = 900);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	free_vm(vm);
	assert_true(vm->stats.engine.halts >= 900);
	free(vm);
}

static void test_C4b_with_interrupts_off_the_vcpu_waits_and_serves_nothing(void **state)
{
	struct vm *vm = VM(.scenario = KERNEL_READS_IRQS_OFF, .filters = "latency:5ms,", .pages = 8);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	assert_int_equal(count(vm, EV_NP) + count(vm, EV_TICK), 0);
	free_vm(vm);
	assert_true(vm->stats.engine.waits >= 8);
	free(vm);
}

/* It is halted most of the time; where a tick was being served, look again. */
static void test_C16_a_snapshot_stores_an_artificial_halt_as_runnable(void **state)
{
	struct vm *vm = VM(.scenario = KERNEL_READS, .filters = "latency:200ms,", .pages = 64);
	uint32_t mp;

	assert_int_equal(run_until(vm, EV_TICK), 0);
	do
		assert_int_equal(run_for(vm, 30), -EINTR);
	while (mp_state(vm) != machine_halted);
	apf_kvm_freeze(vm->k, true);
	mp = mp_state(vm);
	assert_true(apf_kvm_vcpu_save(vm->v, NULL, 0, &mp) > 0);
	assert_int_equal(mp, KVM_MP_STATE_RUNNABLE);
	free_vm(vm);
	free(vm);
}

static void test_N10_a_page_lost_for_good_stops_the_run_and_is_named(void **state)
{
	const uint32_t host_page = (uint32_t)sysconf(_SC_PAGESIZE), lost = DATA + 2 * host_page;
	char filter[64], name[16];
	struct vm *vm;

	snprintf(filter, sizeof(filter), "error:rate=1:pages=%u-%u,", lost / PAGE,
		 (lost + host_page) / PAGE - 1);
	snprintf(name, sizeof(name), "%u", lost / PAGE);
	vm = VM(.scenario = USER_READS, .filters = filter, .pages = 8);
	assert_int_equal(run_vm(vm), -EIO);
	assert_int_equal(count(vm, EV_VALUE), 2);
	assert_int_equal(apf_kvm_lost(vm->v), machine_ram + lost);
	assert_non_null(strstr(apf_error(), name));
	free_vm(vm);
	free(vm);
}

static void test_mode_sync_blocks_and_verifies(void **state)
{
	struct vm *vm = VM(.sync = true, .scenario = USER_READS, .filters = "latency:1ms,",
			   .pages = 8);

	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	free_vm(vm);
	assert_int_equal(vm->stats.engine.np, 0);
	free(vm);
}

static void test_a_kick_returns_and_the_run_goes_on_after_it(void **state)
{
	struct vm *vm = VM(.scenario = USER_READS, .filters = "latency:1ms,", .pages = 8);

	apf_kvm_kick(vm->v);
	assert_int_equal(apf_kvm_run(vm->v), -EINTR);
	assert_int_equal(run_vm(vm), 0);
	check_values(vm, 1);
	free_vm(vm);
	free(vm);
}

/* C12: what was outstanding in one VM is answered in the next one. */
static void test_C12_C13_saved_with_a_fault_outstanding_its_ready_comes_after_the_load(void **state)
{
	struct vm *a = VM(.scenario = USER_READS, .filters = "latency:300ms,", .pages = 4);
	uint32_t mp = KVM_MP_STATE_RUNNABLE;
	struct apf_vcpu_stats s;
	uint8_t bytes[4096];
	size_t n;

	assert_int_equal(run_until(a, EV_NP), 0);
	apf_kvm_freeze(a->k, true);
	n = apf_kvm_vcpu_save(a->v, bytes, sizeof(bytes), &mp);
	assert_true(n > 0 && n <= sizeof(bytes));
	apf_kvm_vcpu_stats(a->v, &s);
	assert_int_equal(s.outstanding, 1);
	free_vm(a);
	free(a);

	struct vm *b = VM(.scenario = USER_READS, .filters = "latency:1ms,", .pages = 1);

	assert_int_equal(apf_mem_need(b->mem, AREA / PAGE, 1), 0);
	assert_int_equal(apf_kvm_vcpu_load(b->v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(apf_mem_need(b->mem, DATA / PAGE, 1), 0);
	usleep(20000);
	apf_kvm_vcpu_stats(b->v, &s);
	assert_int_equal(s.broadcasts, 0);
	assert_int_equal(s.outstanding, 0);
	assert_int_equal(s.ready + s.queued, 1);
	free_vm(b);
	free(b);
}

static const struct CMUnitTest common_tests[] = {
	cmocka_unit_test(test_C1_C11_user_reads_get_NP_and_ready_with_the_same_token),
	cmocka_unit_test(test_L11_a_ready_ends_the_guests_own_halt),
	cmocka_unit_test(test_C4a_timer_interrupts_are_served_while_the_vcpu_is_halted),
	cmocka_unit_test(test_C4a_900_halts_among_timer_interrupts_lose_nothing),
	cmocka_unit_test(test_C4b_with_interrupts_off_the_vcpu_waits_and_serves_nothing),
	cmocka_unit_test(test_C16_a_snapshot_stores_an_artificial_halt_as_runnable),
	cmocka_unit_test(test_N10_a_page_lost_for_good_stops_the_run_and_is_named),
	cmocka_unit_test(test_mode_sync_blocks_and_verifies),
	cmocka_unit_test(test_a_kick_returns_and_the_run_goes_on_after_it),
	cmocka_unit_test(test_C12_C13_saved_with_a_fault_outstanding_its_ready_comes_after_the_load),
};

int main(void)
{
	struct CMUnitTest tests[sizeof(common_tests) / sizeof(*common_tests) + machine_test_count];
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct apf_mem_probe mp;
	struct apf_kvm_probe kp;

	if (kvm < 0 || apf_kvm_probe(kvm, &kp) || !machine_usable(&kp) || apf_mem_probe(&mp) ||
	    !mp.poison) {
		printf("1..0 # SKIP no KVM on hardware here, or no UFFDIO_POISON: run it in the lab\n");
		return 0;
	}
	close(kvm);
	memcpy(tests, common_tests, sizeof(common_tests));
	memcpy((uint8_t *)tests + sizeof(common_tests), machine_tests,
	       machine_test_count * sizeof(*machine_tests));
	return cmocka_run_group_tests(tests, make_ram_file, remove_ram_file);
}
