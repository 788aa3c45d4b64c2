/* SPDX-License-Identifier: MIT */
/*
 * libapf-guest, row by row, against a fake kernel and a host that may misbehave: what holds
 * in every generation. test_ready.c has how waiters are woken, test_x86.c and test_arm64.c
 * what is their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fake_kernel.h"

static struct fake_kernel kernel;

static void assert_event(const struct fake_kernel *k, enum apf_guest_event ev, uint32_t times)
{
	assert_int_equal(fake_count(k, FAKE_EVENT, ev), times);
}

/* --- what is ours and what is not --- */

static void test_L8_I7_N9_reason_0_is_an_ordinary_fault(void **state)
{
	static const struct fake_fault faults[] = {
		{ .address = TOKEN, .user = true, .irqs_on = true },
		{ .address = 0xffff800000001000 },
		{ .address = 0, .user = true, .irqs_on = true },
	};

	for_each_abi(abi) {
		fake_start(&kernel, abi, true);
		for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
			assert_int_equal(fake_fault(&kernel, &faults[i]), APF_GUEST_PF_ORDINARY);
		assert_int_equal(kernel.logged, 0);
	}
}

static void test_L8_N9_an_np_clears_the_reason_before_its_task_sleeps(void **state)
{
	for_each_abi(abi) {
		const struct fake_fault fault = { .address = TOKEN, .user = true,
							 .irqs_on = true };

		fake_start(&kernel, abi, false);
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		assert_int_equal(fake_fault(&kernel, &fault), APF_GUEST_PF_RETRY);
		for (uint32_t i = 0; i <= fake_find(&kernel, FAKE_SLEEP, TOKEN); i++)
			assert_int_equal(kernel.log[i].reason, 0);
		assert_int_equal(fake_count(&kernel, FAKE_SLEEP, TOKEN), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_L8_a_notification_while_interrupts_were_off_is_broken(void **state)
{
	for_each_abi(abi) {
		for (uint32_t reason = APF_REASON_NP; reason <= 3; reason++) {
			const struct fake_fault fault = { .address = TOKEN, .user = true };

			if (abi == APF_GUEST_X86_RFC && reason == APF_REASON_READY)
				continue;
			fake_start(&kernel, abi, true);
			fake_cpu(&kernel)->area.reason = reason;
			assert_int_equal(fake_fault(&kernel, &fault), APF_GUEST_PF_BROKEN);
			assert_int_equal(kernel.logged, 0);
		}
	}
}

static void test_N3_A16_with_a_word_for_each_the_two_do_not_mix(void **state)
{
	static const enum apf_guest_abi abis[] = { APF_GUEST_X86_INT, APF_GUEST_ARM64_INT };

	/* Given a ready whose interrupt was not taken, when an NP comes, then both are served. */
	for (size_t i = 0; i < 2; i++) {
		struct apf_guest_waiter w, w2;

		fake_start(&kernel, abis[i], false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_cpu(&kernel)->area.token = TOKEN;
		assert_int_equal(fake_np_waits(&kernel, 0x6001, &w2), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_cpu(&kernel)->area.token, TOKEN);
		fake_ready_interrupt(&kernel);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
		assert_non_null(w2.link);
	}
}

static void test_N2_A16_where_ready_is_an_interrupt_no_exception_wakes_anyone(void **state)
{
	static const enum apf_guest_abi abis[] = { APF_GUEST_X86_INT, APF_GUEST_ARM64_INT };
	const struct fake_fault fault = { .address = TOKEN, .user = true, .irqs_on = true };

	for (size_t i = 0; i < 2; i++) {
		struct apf_guest_waiter w;

		fake_start(&kernel, abis[i], false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_cpu(&kernel)->area.reason = APF_REASON_READY;
		assert_int_equal(fake_fault(&kernel, &fault), APF_GUEST_PF_RETRY);
		assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
		assert_non_null(w.link);
		assert_event(&kernel, APF_GUEST_EV_REJECTED, 1);
	}
}

/* --- a host that misbehaves --- */

static void test_C8_what_is_no_token_is_never_slept_on(void **state)
{
	static const struct fake_fault faults[] = {
		{ .address = 0, .user = true, .irqs_on = true },
		{ .address = BROADCAST, .user = true, .irqs_on = true },
		{ .address = 0x100005001, .user = true, .irqs_on = true },
		{ .address = UINT64_MAX, .user = true, .irqs_on = true },
		{ .address = TOKEN, .user = false, .irqs_on = true },
	};

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(fake_fault(&kernel, &faults[i]), APF_GUEST_PF_RETRY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
		}
		assert_event(&kernel, APF_GUEST_EV_REJECTED, sizeof(faults) / sizeof(faults[0]));
		assert_event(&kernel, APF_GUEST_EV_NP, 0);
	}
}

static void test_L4_kernel_mode_nps_are_taken_only_with_send_always(void **state)
{
	const struct fake_fault fault = { .address = TOKEN, .irqs_on = true };

	for_each_abi(abi) {
		for (int always = 0; always < 2; always++) {
			struct apf_guest_notice n;

			fake_start(&kernel, abi, always);
			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(fake_notice(&kernel, &fault, &n),
					 always ? APF_GUEST_PF_WAIT : APF_GUEST_PF_RETRY);
		}
	}
}

static void test_C8_a_token_that_is_waited_for_already_is_not_slept_on_twice(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w, again;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &again), APF_GUEST_PF_RETRY);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_C9_a_notice_of_another_cpu_is_not_slept_on(void **state)
{
	struct apf_guest_notice n;
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_WAIT);
		kernel.cpu = 1;
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w), APF_GUEST_PF_RETRY);
	}
}

static void test_N4_spurious_ready_interrupts_do_nothing_but_eoi(void **state)
{
	static const uint32_t reasons[] = { 0, APF_REASON_NP, 7 };
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		for (size_t r = 0; r < 3; r++) {
			fake_start(&kernel, abi, false);
			assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
			kernel.logged = 0;
			fake_cpu(&kernel)->area.reason = reasons[r];
			fake_ready_interrupt(&kernel);
			assert_int_equal(kernel.logged, 1);
			assert_int_equal(kernel.log[0].act, FAKE_EOI);
			assert_non_null(w.link);
		}
	}
}

static void test_C8_token_0_as_ready_is_ignored_and_the_word_is_freed(void **state)
{
	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		fake_ready(&kernel, 0);
		assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
		assert_event(&kernel, APF_GUEST_EV_READY, 0);
		assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
	}
}

static void test_I4_an_unknown_reason_is_cleared_and_the_access_repeated(void **state)
{
	static const uint32_t reasons[] = { 3, 4, 0x80000001, UINT32_MAX };
	const struct fake_fault fault = { .address = TOKEN, .user = true, .irqs_on = true };

	for_each_abi(abi) {
		for (size_t i = 0; i < 4; i++) {
			fake_start(&kernel, abi, false);
			fake_cpu(&kernel)->area.reason = reasons[i];
			assert_int_equal(fake_fault(&kernel, &fault), APF_GUEST_PF_RETRY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
			assert_event(&kernel, APF_GUEST_EV_REJECTED, 1);
		}
	}
}

/* --- tracepoints and state --- */

static void test_V1_every_change_of_state_is_one_event(void **state)
{
	static const enum apf_guest_event expected[] = {
		APF_GUEST_EV_NP, APF_GUEST_EV_SLEPT, APF_GUEST_EV_READY, APF_GUEST_EV_WOKEN,
		APF_GUEST_EV_READY, APF_GUEST_EV_EARLY, APF_GUEST_EV_NP, APF_GUEST_EV_EARLY_NP,
		APF_GUEST_EV_BROADCAST,
	};

	for_each_abi(abi) {
		struct apf_guest_waiter w;
		uint32_t seen = 0;

		fake_start(&kernel, abi, false);
		fake_np_waits(&kernel, TOKEN, &w);
		fake_ready(&kernel, TOKEN);
		fake_ready(&kernel, 0x6001);
		fake_np_waits(&kernel, 0x6001, &w);
		fake_ready(&kernel, BROADCAST);
		for (uint32_t i = 0; i < kernel.logged; i++)
			if (kernel.log[i].act == FAKE_EVENT)
				assert_int_equal(kernel.log[i].a, expected[seen++]);
		assert_int_equal(seen, sizeof(expected) / sizeof(expected[0]));
		assert_int_equal(kernel.log[0].b, TOKEN);
	}
}

static void test_state_can_be_copied_away_and_back(void **state)
{
	static struct fake_kernel copy;
	struct apf_guest_waiter w[3], saved[3];

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (uint32_t i = 0; i < 3; i++)
			fake_np_waits(&kernel, (i + 1) << 12, &w[i]);
		memcpy(&copy, &kernel, sizeof(kernel));
		memcpy(saved, w, sizeof(w));
		for (uint32_t turn = 0; turn < 2; turn++) {
			for (uint32_t i = 0; i < 3; i++)
				fake_ready(&kernel, (i + 1) << 12);
			assert_event(&kernel, APF_GUEST_EV_WOKEN, 3);
			assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
			memcpy(&kernel, &copy, sizeof(kernel));
			memcpy(w, saved, sizeof(w));
		}
	}
}

static void test_init_refuses_no_cpus_and_no_memory(void **state)
{
	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(apf_guest_init(&kernel.guest, &fake_ops, &kernel, 0), -APF_GUEST_EINVAL);
	for (size_t left = 0; left < 2 * sizeof(struct apf_guest_cpu); left += 64) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.used = FAKE_MEMORY - left;
		assert_int_equal(apf_guest_init(&kernel.guest, &fake_ops, &kernel, FAKE_CPUS),
				 -APF_GUEST_ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_L8_I7_N9_reason_0_is_an_ordinary_fault),
		cmocka_unit_test(test_L8_N9_an_np_clears_the_reason_before_its_task_sleeps),
		cmocka_unit_test(test_L8_a_notification_while_interrupts_were_off_is_broken),
		cmocka_unit_test(test_N3_A16_with_a_word_for_each_the_two_do_not_mix),
		cmocka_unit_test(test_N2_A16_where_ready_is_an_interrupt_no_exception_wakes_anyone),
		cmocka_unit_test(test_C8_what_is_no_token_is_never_slept_on),
		cmocka_unit_test(test_L4_kernel_mode_nps_are_taken_only_with_send_always),
		cmocka_unit_test(test_C8_a_token_that_is_waited_for_already_is_not_slept_on_twice),
		cmocka_unit_test(test_C9_a_notice_of_another_cpu_is_not_slept_on),
		cmocka_unit_test(test_N4_spurious_ready_interrupts_do_nothing_but_eoi),
		cmocka_unit_test(test_C8_token_0_as_ready_is_ignored_and_the_word_is_freed),
		cmocka_unit_test(test_I4_an_unknown_reason_is_cleared_and_the_access_repeated),
		cmocka_unit_test(test_V1_every_change_of_state_is_one_event),
		cmocka_unit_test(test_state_can_be_copied_away_and_back),
		cmocka_unit_test(test_init_refuses_no_cpus_and_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
