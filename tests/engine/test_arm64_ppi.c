/* SPDX-License-Identifier: MIT */
/* arm64, second revision: ready as a token word and a PPI, with its ACK. */
#include "fake.h"

static struct fake g;

static void test_A16_C15_ready_is_the_token_word_then_the_ppi(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	uint32_t a = inject(&g, 7);

	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_string_equal(g.log, "TR");
	assert_int_equal(g.token, a);
	assert_int_equal(g.vector, PPI);
	assert_true(g.line);
	assert_int_equal(g.injects, 0);
	assert_int_equal(g.reason, 0);
	assert_int_equal(arm_ack(&g), 0);
	assert_string_equal(g.log, "TRL");
	assert_false(g.line);
}

static void test_A16_the_ack_lowers_the_line_and_brings_the_next(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);	/* its ACK will tell */
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, a);
	fake_forget(&g);
	assert_int_equal(arm_ack(&g), 0);
	assert_string_equal(g.log, "LTR");
	assert_int_equal(g.token, b);
	assert_true(g.line);
}

static void test_A16_nothing_goes_out_between_the_free_word_and_its_ack(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	inject(&g, 1);
	uint32_t b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	consume(&g);
	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "");	/* the ACK would lower its line */
	arm_ack(&g);
	assert_int_equal(g.token, b);
	assert_true(g.line);
}

static void test_A16_N4_an_ack_while_the_token_word_is_not_0_delivers_nothing(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	assert_int_equal(ask(&g, OP(ACK), 0, 0), 0);
	assert_int_equal(g.token, a);
	assert_int_equal(g.raises, 1);
	assert_int_equal(arm_ack(&g), 0);
	assert_int_equal(g.token, b);
}

static void test_A16_N3_an_np_is_not_held_by_a_token_but_by_a_wake_all(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	inject(&g, 1);
	apf_vcpu_page_done(g.v, 1);
	assert_int_not_equal(g.token, 0);
	inject(&g, 2);
	arm_ack(&g);
	apf_vcpu_broadcast(g.v);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	assert_int_equal(take(&g, user_fault(3)).verdict, APF_HALT);
	assert_int_equal(take(&g, user_fault(3)).why, APF_WHY_AREA);
	arm_ack(&g);
	inject(&g, 3);
}

static void test_A16_first_revision_does_not_look_at_the_token_word(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	g.token = APF_TOKEN_BROADCAST;
	inject(&g, 7);
	apf_vcpu_page_done(g.v, 7);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(g.injects, 1);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
}

static void test_A16_a_ready_is_not_held_by_reason_busy_region_or_level(void **state)
{
	fake_init(&g, A_CONFIG());
	ask(&g, OP(REGION), 0, ~0ull);
	ask(&g, A_ON_INT | APF_ARM64_BUSY, 0, 0);
	arm_ack(&g);
	struct apf_fault f = user_fault(7);

	f.pc = ~0ull;
	uint32_t a = take(&g, f).token;

	g.busy = 1;
	assert_int_equal(g.reason, APF_ARM64_REASON_NP);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(g.token, a);
}

static void test_A16_C9_refused_or_out_of_reach_it_stays_queued(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	uint32_t a = inject(&g, 7);

	fake_forget(&g);
	g.memory.unreachable = true;
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_LATER);
	g.memory.unreachable = false;
	g.memory.read_only = true;
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_LATER);
	g.memory.read_only = false;
	for (g.raise_result = 0; g.raise_result >= -1; g.raise_result--) {
		fake_forget(&g);
		assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_LATER);
		assert_string_equal(g.log, "TR0");
	}
	g.raise_result = 1;
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, a);
	assert_true(g.line);
}

static void test_A14_C2_C3_C7_the_set_is_the_same_in_both_revisions(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_arm_on(&g, A_CONFIG(.max_outstanding = 1), i ? A_ON_INT : A_ON);
		inject(&g, 1);
		assert_int_equal(take(&g, user_fault(1)).why, APF_WHY_REPEAT);
		assert_int_equal(take(&g, user_fault(2)).why, APF_WHY_FULL);
		assert_int_equal(apf_vcpu_page_done(g.v, 2), APF_OUT_WAKE);
		assert_int_equal(apf_vcpu_page_done(g.v, 1), i ? 0 : APF_OUT_KICK);
		assert_int_equal(enter(&g), 0);
		assert_int_equal(g.injects + g.raises, 1);
		assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_A16_C15_ready_is_the_token_word_then_the_ppi),
		cmocka_unit_test(test_A16_the_ack_lowers_the_line_and_brings_the_next),
		cmocka_unit_test(test_A16_nothing_goes_out_between_the_free_word_and_its_ack),
		cmocka_unit_test(test_A16_N4_an_ack_while_the_token_word_is_not_0_delivers_nothing),
		cmocka_unit_test(test_A16_N3_an_np_is_not_held_by_a_token_but_by_a_wake_all),
		cmocka_unit_test(test_A16_first_revision_does_not_look_at_the_token_word),
		cmocka_unit_test(test_A16_a_ready_is_not_held_by_reason_busy_region_or_level),
		cmocka_unit_test(test_A16_C9_refused_or_out_of_reach_it_stays_queued),
		cmocka_unit_test(test_A14_C2_C3_C7_the_set_is_the_same_in_both_revisions),
	};

	return cmocka_run_group_tests_name("engine/arm64-ppi", tests, NULL, NULL);
}
