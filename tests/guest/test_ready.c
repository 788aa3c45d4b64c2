/* SPDX-License-Identifier: MIT */
/*
 * libapf-guest in every generation: each ready finds who waits for it, whichever comes first,
 * and a wake-all finds all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_kernel.h"

static struct fake_kernel kernel;

static void assert_event(const struct fake_kernel *k, enum apf_guest_event ev, uint32_t times)
{
	assert_int_equal(fake_count(k, FAKE_EVENT, ev), times);
}

/* --- ready --- */

static void test_N9_A16_ready_is_eoi_then_wake_then_token_0_then_ack(void **state)
{
	static const struct {
		enum apf_guest_abi abi;
		enum fake_act act;
		uint32_t ack;
		uint64_t value;
	} cases[] = {
		{ APF_GUEST_X86_INT, FAKE_WRMSR, APF_MSR_ACK, APF_ACK_LOOK },
		{ APF_GUEST_ARM64_INT, FAKE_HVC, APF_ARM64_OP_ACK,
		  (uint64_t)APF_ARM64_OP_ACK << APF_ARM64_OP_SHIFT },
	};

	for (size_t i = 0; i < 2; i++) {
		struct apf_guest_waiter w;
		uint32_t eoi, wake, ack;

		fake_start(&kernel, cases[i].abi, false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, TOKEN);
		eoi = fake_find(&kernel, FAKE_EOI, 0);
		wake = fake_find(&kernel, FAKE_WAKE, TOKEN);
		ack = fake_find(&kernel, cases[i].act, cases[i].ack);
		assert_true(eoi < wake && wake < ack && ack < FAKE_LOG);
		assert_int_equal(kernel.log[wake].token, TOKEN);
		assert_int_equal(kernel.log[ack].token, 0);
		assert_int_equal(kernel.log[ack].b, cases[i].value);
		assert_int_equal(fake_count(&kernel, cases[i].act, cases[i].ack), 1);
	}
}

static void test_C1_C2_each_ready_wakes_its_own_waiter_once(void **state)
{
	static struct apf_guest_waiter w[400];

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (uint32_t i = 0; i < 400; i++)
			assert_int_equal(fake_np_waits(&kernel, (i + 1) << 12, &w[i]),
					 APF_GUEST_PF_WAIT);
		kernel.logged = 0;
		for (uint32_t i = 0; i < 400; i++) {
			uint32_t token = ((i * 171 + 5) % 400 + 1) << 12;

			fake_ready(&kernel, token);
			assert_int_equal(fake_count(&kernel, FAKE_WAKE, token), 1);
		}
		assert_event(&kernel, APF_GUEST_EV_WOKEN, 400);
		assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
	}
}

static void test_L9_a_ready_that_overtakes_its_np_keeps_it_from_sleeping(void **state)
{
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_RETRY);
		assert_event(&kernel, APF_GUEST_EV_EARLY, 1);
		assert_event(&kernel, APF_GUEST_EV_EARLY_NP, 1);
		/* Used up: the token's next life is a new fault. */
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_L9_a_ready_between_reading_the_reason_and_sleeping_is_not_lost(void **state)
{
	struct apf_guest_notice n;
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w), APF_GUEST_PF_RETRY);
	}
}

/* More readies than fit come before their NPs: whichever NP then comes, nobody sleeps for ever. */
static void test_L9_when_no_more_can_be_remembered_the_host_is_made_to_forget(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_notice in_hand;
		struct apf_guest_waiter w, asleep;
		uint32_t off, token = 0x9001;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np_waits(&kernel, 0x8001, &asleep), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np(&kernel, token, &in_hand), APF_GUEST_PF_WAIT);
		for (uint32_t i = 0; i < APF_GUEST_EARLY; i++)
			fake_ready(&kernel, (i + 1) << 12);
		kernel.logged = 0;
		fake_ready(&kernel, token);
		assert_event(&kernel, APF_GUEST_EV_RESTART, 1);
		off = fake_find_off(&kernel);
		assert_true(off < FAKE_LOG);
		assert_int_equal(fake_cpu(&kernel)->area.enabled, 1);
		assert_true(off < fake_find(&kernel, FAKE_WAKE, 0x8001));
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x8001), 1);
		assert_int_equal(apf_guest_wait(&kernel.guest, &in_hand, &w), APF_GUEST_PF_RETRY);
		/* And it goes on as before. */
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_L9_a_ready_seen_twice_is_remembered_once(void **state)
{
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (uint32_t i = 0; i < 3 * APF_GUEST_EARLY; i++)
			fake_ready(&kernel, TOKEN);
		assert_event(&kernel, APF_GUEST_EV_RESTART, 0);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_RETRY);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_disable(&kernel);
	}
}

static void ready_at_third_halt(struct fake_kernel *k)
{
	if (k->halts == 2)
		fake_ready(k, 0x6001);
	if (k->halts == 3)
		fake_ready(k, TOKEN);
}

static void test_L9_what_cannot_be_scheduled_away_halts_until_its_own_ready(void **state)
{
	const struct fake_fault fault = { .address = TOKEN, .irqs_on = true };

	for_each_abi(abi) {
		fake_start(&kernel, abi, true);
		kernel.no_sleep = true;
		kernel.on_halt = ready_at_third_halt;
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		assert_int_equal(fake_fault(&kernel, &fault), APF_GUEST_PF_RETRY);
		assert_int_equal(kernel.halts, 3);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 0);
		assert_int_equal(fake_count(&kernel, FAKE_SLEEP, TOKEN), 0);
		assert_event(&kernel, APF_GUEST_EV_HALTED, 1);
		assert_event(&kernel, APF_GUEST_EV_WOKEN, 1);
	}
}

/* --- wake-all --- */

static void test_C6_a_broadcast_wakes_every_waiter_of_that_cpu_and_no_other(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w[40], other;

		fake_start(&kernel, abi, false);
		kernel.cpu = 1;
		assert_int_equal(fake_np_waits(&kernel, 0x7001, &other), APF_GUEST_PF_WAIT);
		kernel.cpu = 0;
		for (uint32_t i = 0; i < 40; i++)
			assert_int_equal(fake_np_waits(&kernel, (i + 1) << 12, &w[i]),
					 APF_GUEST_PF_WAIT);
		fake_ready(&kernel, BROADCAST);
		for (uint32_t i = 0; i < 40; i++)
			assert_int_equal(fake_count(&kernel, FAKE_WAKE, (i + 1) << 12), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x7001), 0);
		assert_event(&kernel, APF_GUEST_EV_BROADCAST, 1);
		assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
	}
}

static void test_C6_C12_an_np_in_hand_does_not_sleep_after_a_broadcast(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_notice n;
		struct apf_guest_waiter w;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, BROADCAST);
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w), APF_GUEST_PF_RETRY);
	}
}

static void test_L9_a_broadcast_in_between_leaves_no_early_ready_behind(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_notice n;
		struct apf_guest_waiter w;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_WAIT);
		fake_ready(&kernel, TOKEN);
		fake_ready(&kernel, BROADCAST);
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w), APF_GUEST_PF_RETRY);
		/* Else an NP with a token of the same value would not sleep. */
		assert_int_equal(fake_cpu(&kernel)->nr_early, 0);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	}
}

static void test_N9_going_offline_is_EN_0_then_wake_all_of_that_cpu(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w[2], other;
		struct apf_guest_notice n;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np_waits(&kernel, 0x1000, &w[0]), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np_waits(&kernel, 0x2000, &w[1]), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np(&kernel, 0x3000, &n), APF_GUEST_PF_WAIT);
		kernel.cpu = 1;
		assert_int_equal(fake_np_waits(&kernel, 0x1001, &other), APF_GUEST_PF_WAIT);
		kernel.cpu = 0;
		kernel.logged = 0;
		fake_disable(&kernel);
		assert_int_equal(fake_find_off(&kernel), 0);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x1000), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x2000), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x1001), 0);
		/* What was under way then finds nothing to do. */
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w[0]), APF_GUEST_PF_RETRY);
		fake_ready(&kernel, 0x2000);
		assert_event(&kernel, APF_GUEST_EV_READY, 0);
		kernel.logged = 0;
		fake_disable(&kernel);
		assert_int_equal(kernel.logged, 0);
	}
}

static void test_C10_enabling_again_after_a_reset_wakes_and_starts_anew(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w;

		fake_start(&kernel, abi, false);
		fake_ready(&kernel, 0x6001);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_enable(&kernel), 0);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
		assert_int_equal(fake_np_waits(&kernel, 0x6001, &w), APF_GUEST_PF_WAIT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_N9_A16_ready_is_eoi_then_wake_then_token_0_then_ack),
		cmocka_unit_test(test_C1_C2_each_ready_wakes_its_own_waiter_once),
		cmocka_unit_test(test_L9_a_ready_that_overtakes_its_np_keeps_it_from_sleeping),
		cmocka_unit_test(test_L9_a_ready_between_reading_the_reason_and_sleeping_is_not_lost),
		cmocka_unit_test(test_L9_when_no_more_can_be_remembered_the_host_is_made_to_forget),
		cmocka_unit_test(test_L9_a_ready_seen_twice_is_remembered_once),
		cmocka_unit_test(test_L9_what_cannot_be_scheduled_away_halts_until_its_own_ready),
		cmocka_unit_test(test_C6_a_broadcast_wakes_every_waiter_of_that_cpu_and_no_other),
		cmocka_unit_test(test_C6_C12_an_np_in_hand_does_not_sleep_after_a_broadcast),
		cmocka_unit_test(test_L9_a_broadcast_in_between_leaves_no_early_ready_behind),
		cmocka_unit_test(test_N9_going_offline_is_EN_0_then_wake_all_of_that_cpu),
		cmocka_unit_test(test_C10_enabling_again_after_a_reset_wakes_and_starts_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
