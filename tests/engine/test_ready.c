/* SPDX-License-Identifier: MIT */
/* How readies and wake-alls go out, and when they do not. */
#include <string.h>

#include "fake.h"
#include "invariants.h"

static struct fake g;

static void test_C1_C2_C15_each_np_gets_one_ready_token_then_interrupt(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 7);

	memset(g.log, 0, sizeof(g.log));
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(g.token, a);
	assert_string_equal(g.log, "TR");
	assert_int_equal(g.vector, VECTOR);
	assert_int_equal(ack(&g), 0);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.raises, 1);
}

static void test_C2_every_token_of_a_page_gets_its_ready_in_turn(void **state)
{
	uint32_t seen[3];

	fake_on(&g, CONFIG(.policy.tokens_per_page = 2));
	uint32_t a = inject(&g, 7), b = inject(&g, 7), c = inject(&g, 8);

	apf_vcpu_page_done(g.v, 7);
	apf_vcpu_page_done(g.v, 8);
	for (int i = 0; i < 3; i++) {
		seen[i] = g.token;
		ack(&g);
	}
	assert_int_equal(seen[0] ^ seen[1], a ^ b);
	assert_true(seen[0] == a || seen[0] == b);
	assert_int_equal(seen[2], c);
	assert_int_equal(g.raises, 3);
	assert_int_equal(stats(&g).queued, 0);
}

static void test_C2_page_nobody_waits_for_is_fine(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 7);
	assert_int_equal(apf_vcpu_page_done(g.v, 8), 0);
	assert_int_equal(g.raises, 0);
}

static void test_N4_ready_waits_until_token_word_is_zero(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	/* Held back by the guest itself: its acknowledge will tell, no timer is needed. */
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, a);
	assert_int_equal(g.raises, 1);
	/* An acknowledge without consuming is too early. */
	write_reg(&g, APF_MSR_ACK, APF_ACK_LOOK);
	assert_int_equal(g.token, a);
	assert_int_equal(g.raises, 1);
	ack(&g);
	assert_int_equal(g.token, b);
	assert_int_equal(g.raises, 2);
}

static void test_N4_ack_without_bit_0_does_nothing_other_bits_are_ignored(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	uint32_t b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	consume(&g);
	write_reg(&g, APF_MSR_ACK, ~APF_ACK_LOOK);
	assert_int_equal(g.token, 0);
	write_reg(&g, APF_MSR_ACK, ~0ull);
	assert_int_equal(g.token, b);
}

static void test_N4_poll_finds_what_a_lost_ack_left(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	uint32_t b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	consume(&g);
	apf_vcpu_poll(g.v);
	assert_int_equal(g.token, b);
}

static void test_N6_refused_interrupt_leaves_word_zero_and_asks_to_try_later(void **state)
{
	static const int refusals[] = { 0, -1 };

	for (size_t i = 0; i < 2; i++) {
		fake_on(&g, CONFIG());
		uint32_t a = inject(&g, 1);

		memset(g.log, 0, sizeof(g.log));
		g.raise_result = refusals[i];
		assert_int_equal(apf_vcpu_page_done(g.v, 1), APF_OUT_LATER);
		assert_int_equal(g.token, 0);
		assert_string_equal(g.log, "TR0");
		assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_LATER);
		assert_int_equal(stats(&g).queued, 1);
		assert_int_equal(stats(&g).ready, 0);
		g.raise_result = 1;
		assert_int_equal(apf_vcpu_poll(g.v), 0);
		assert_int_equal(g.token, a);
		assert_int_equal(g.raises, 1);
		assert_int_equal(stats(&g).ready, 1);
	}
}

static void test_N1_vector_below_16_is_dropped_by_the_apic_and_does_not_spin(void **state)
{
	fake_on(&g, CONFIG());
	write_reg(&g, APF_MSR_INT, 15);
	uint32_t a = inject(&g, 1);

	g.raise_result = -1;
	assert_int_equal(apf_vcpu_page_done(g.v, 1), 0);
	assert_int_equal(g.token, a);
	assert_int_equal(stats(&g).queued, 0);
	ack(&g);
	write_reg(&g, APF_MSR_INT, 16);
	inject(&g, 2);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), APF_OUT_LATER);
	assert_int_equal(g.token, 0);
}

static void test_C9_area_unreachable_at_ready_keeps_it_queued(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_on(&g, CONFIG());
		uint32_t a = inject(&g, 1);

		g.memory.unreachable = i == 0;
		g.memory.read_only = i == 1;
		assert_int_equal(apf_vcpu_page_done(g.v, 1), APF_OUT_LATER);
		assert_int_equal(g.raises, 0);
		g.memory.unreachable = g.memory.read_only = false;
		assert_int_equal(apf_vcpu_poll(g.v), 0);
		assert_int_equal(g.token, a);
	}
}

static void test_C6_C12_wake_all_covers_every_np_delivered_before_it(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	inject(&g, 2);
	inject(&g, 3);
	apf_vcpu_page_done(g.v, 1);	/* in the token word */
	apf_vcpu_page_done(g.v, 2);	/* queued */
	assert_int_equal(apf_vcpu_broadcast(g.v), 0);
	assert_int_equal(stats(&g).broadcasts, 1);	/* only that of enabling */
	assert_int_equal(stats(&g).outstanding, 1);
	ack(&g);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);	/* before the queued ready */
	assert_int_equal(stats(&g).outstanding, 0);
	assert_int_equal(stats(&g).queued, 0);
	ack(&g);
	apf_vcpu_page_done(g.v, 3);	/* completes silently */
	assert_int_equal(g.token, 0);
	assert_int_equal(g.raises, 2);
	inject(&g, 3);
}

static void test_C6_N7_only_one_wake_all_is_queued(void **state)
{
	fake_on(&g, CONFIG());
	g.token = 0x77;
	apf_vcpu_broadcast(g.v);
	apf_vcpu_broadcast(g.v);
	write_reg(&g, APF_MSR_EN, EN_ON);
	assert_int_equal(stats(&g).queued, 1);
	ack(&g);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	ack(&g);
	assert_int_equal(g.token, 0);
	assert_int_equal(g.raises, 1);
}

static void test_C6_no_wake_all_while_disabled(void **state)
{
	fake_init(&g, CONFIG());
	assert_int_equal(apf_vcpu_broadcast(g.v), 0);
	assert_int_equal(stats(&g).queued, 0);
	assert_string_equal(g.log, "");
}

static void test_N6_refused_wake_all_keeps_what_it_would_cover(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1);

	g.raise_result = 0;
	assert_int_equal(apf_vcpu_broadcast(g.v), APF_OUT_LATER);
	assert_int_equal(g.token, 0);
	assert_int_equal(stats(&g).outstanding, 1);
	apf_vcpu_reset(g.v);
	fake_on(&g, CONFIG());
	assert_int_equal(inject(&g, 1), a);
}

static void test_N10_failed_page_sends_its_own_token_and_leaves_the_set(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 7);

	apf_vcpu_page_failed(g.v, 7);
	assert_int_equal(g.token, a);
	assert_int_equal(apf_vcpu_outstanding(g.v), 0);
	ack(&g);
	assert_int_not_equal(inject(&g, 7), a);
}

static void test_freeze_keeps_guest_memory_untouched_and_loses_nothing(void **state)
{
	struct apf_fault f = user_fault(9);

	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1);

	f.user = false;
	take(&g, f);
	memset(g.log, 0, sizeof(g.log));
	apf_vcpu_freeze(g.v, true);
	assert_int_equal(apf_vcpu_page_done(g.v, 1), 0);
	assert_int_equal(apf_vcpu_page_done(g.v, 9), APF_OUT_WAKE);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(apf_vcpu_broadcast(g.v), 0);
	assert_string_equal(g.log, "");
	apf_vcpu_freeze(g.v, false);
	assert_string_equal(g.log, "");
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	assert_int_not_equal(a, g.token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C1_C2_C15_each_np_gets_one_ready_token_then_interrupt),
		cmocka_unit_test(test_C2_every_token_of_a_page_gets_its_ready_in_turn),
		cmocka_unit_test(test_C2_page_nobody_waits_for_is_fine),
		cmocka_unit_test(test_N4_ready_waits_until_token_word_is_zero),
		cmocka_unit_test(test_N4_ack_without_bit_0_does_nothing_other_bits_are_ignored),
		cmocka_unit_test(test_N4_poll_finds_what_a_lost_ack_left),
		cmocka_unit_test(test_N6_refused_interrupt_leaves_word_zero_and_asks_to_try_later),
		cmocka_unit_test(test_N1_vector_below_16_is_dropped_by_the_apic_and_does_not_spin),
		cmocka_unit_test(test_C9_area_unreachable_at_ready_keeps_it_queued),
		cmocka_unit_test(test_C6_C12_wake_all_covers_every_np_delivered_before_it),
		cmocka_unit_test(test_C6_N7_only_one_wake_all_is_queued),
		cmocka_unit_test(test_C6_no_wake_all_while_disabled),
		cmocka_unit_test(test_N6_refused_wake_all_keeps_what_it_would_cover),
		cmocka_unit_test(test_N10_failed_page_sends_its_own_token_and_leaves_the_set),
		cmocka_unit_test(test_freeze_keeps_guest_memory_untouched_and_loses_nothing),
	};

	return cmocka_run_group_tests_name("engine/ready", tests, NULL, NULL);
}
