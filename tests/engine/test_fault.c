/* SPDX-License-Identifier: MIT */
/* What a fault is decided to be, and what an NP leaves behind. */
#include <engine/vcpu.h>

#include "fake.h"
#include "invariants.h"

static struct fake g;

static void test_C1_N3_np_writes_the_reason_word_and_only_that(void **state)
{
	fake_on(&g, CONFIG());

	struct apf_decision d = take(&g, user_fault(7));

	assert_int_equal(d.verdict, APF_INJECT);
	assert_int_equal(g.reason, APF_REASON_NP);
	assert_int_equal(g.token, 0);
	assert_string_equal(g.log, "N");
	assert_int_equal(stats(&g).np, 1);
	assert_int_equal(apf_vcpu_outstanding(g.v), 1);
}

static void test_N3_np_is_not_held_back_by_old_reason_or_waiting_ready(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	apf_vcpu_page_done(g.v, 1);
	assert_int_not_equal(g.token, 0);
	g.reason = 0xdead;

	assert_int_equal(take(&g, user_fault(2)).verdict, APF_INJECT);
	assert_int_equal(g.reason, APF_REASON_NP);
}

static void test_C4_C14_gate(void **state)
{
	static const struct {
		const char *name;
		struct apf_fault f;
		uint64_t en;
		bool never;
		enum apf_verdict verdict;
		enum apf_why why;
	} t[] = {
#define F(...) { .gfn = 9, .user = true, .irqs_on = true, .paging = true, __VA_ARGS__ }
		{ "user", F(), EN_ON, 0, APF_INJECT, APF_WHY_ASYNC },
		{ "kernel", F(.user = false), EN_ON, 0, APF_HALT, APF_WHY_KERNEL },
		{ "kernel, send-always", F(.user = false), EN_ON | APF_EN_SEND_ALWAYS, 0,
		  APF_INJECT, APF_WHY_ASYNC },
		{ "send-always, IF off", F(.user = false, .irqs_on = false),
		  EN_ON | APF_EN_SEND_ALWAYS, 0, APF_WAIT, APF_WHY_IRQS_OFF },
		{ "paging off", F(.paging = false), EN_ON, 0, APF_HALT, APF_WHY_NOPAGING },
		{ "N2: no INT bit", F(), EN_ON & ~APF_EN_INT, 0, APF_HALT, APF_WHY_DISABLED },
		{ "N2: INT bit alone", F(), EN_ON & ~APF_EN_ENABLED, 0, APF_HALT,
		  APF_WHY_DISABLED },
		{ "disabled", F(), 0, 0, APF_HALT, APF_WHY_DISABLED },
		{ "policy never", F(), EN_ON, 1, APF_HALT, APF_WHY_DISABLED },
		{ "disabled, IF off", F(.irqs_on = false), 0, 0, APF_WAIT, APF_WHY_IRQS_OFF },
		{ "IF off", F(.irqs_on = false), EN_ON, 0, APF_WAIT, APF_WHY_IRQS_OFF },
		{ "kernel, IF off", F(.user = false, .irqs_on = false), EN_ON, 0, APF_WAIT,
		  APF_WHY_IRQS_OFF },
		{ "shadow", F(.irq_shadow = true), EN_ON, 0, APF_WAIT, APF_WHY_SHADOW },
		{ "kernel, shadow", F(.user = false, .irq_shadow = true), EN_ON, 0, APF_WAIT,
		  APF_WHY_SHADOW },
		{ "event", F(.event = true), EN_ON, 0, APF_WAIT, APF_WHY_EVENT },
		{ "disabled, event", F(.event = true), 0, 0, APF_WAIT, APF_WHY_EVENT },
		{ "SMM", F(.smm = true), EN_ON, 0, APF_WAIT, APF_WHY_SMM },
		{ "SMM before all", F(.smm = true, .irqs_on = false, .event = true), EN_ON, 0,
		  APF_WAIT, APF_WHY_SMM },
		{ "nested", F(.nested = true), EN_ON, 0, APF_WAIT, APF_WHY_NESTED },
		{ "KVM's own access", F(.by_kvm = true), EN_ON, 0, APF_WAIT, APF_WHY_KVM },
		{ "disabled, nested", F(.nested = true), 0, 0, APF_WAIT, APF_WHY_NESTED },
#undef F
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, CONFIG(.policy.never_async = t[i].never));
		write_reg(&g, APF_MSR_INT, VECTOR);
		write_reg(&g, APF_MSR_EN, t[i].en);
		ack(&g);

		struct apf_decision d = take(&g, t[i].f);

		if (d.verdict != t[i].verdict || d.why != t[i].why)
			fail_msg("%s: verdict %d why %d", t[i].name, d.verdict, d.why);
		assert_int_equal(g.reason, d.verdict == APF_INJECT ? APF_REASON_NP : 0);
		assert_int_equal(apf_vcpu_outstanding(g.v), d.verdict == APF_INJECT);
		assert_int_equal(!d.token, d.verdict != APF_INJECT);
		assert_int_equal(stats(&g).why[t[i].why], 1);
		assert_int_equal(stats(&g).halts, d.verdict == APF_HALT);
		assert_int_equal(stats(&g).waits, d.verdict == APF_WAIT);
	}
}

static void test_C3_repeated_fault_halts_and_gets_no_second_token(void **state)
{
	for (uint32_t k = 0; k < 2; k++) {
		fake_on(&g, CONFIG(.policy.tokens_per_page = k));
		uint32_t a = inject(&g, 7);

		struct apf_decision d = take(&g, user_fault(7));

		assert_int_equal(d.verdict, APF_HALT);
		assert_int_equal(d.why, APF_WHY_REPEAT);
		assert_int_equal(apf_vcpu_outstanding(g.v), 1);
		assert_int_equal(stats(&g).repeats, 1);
		assert_int_equal(g.reason, 0);
		/* The page ends the halt and is the ready of the first fault too. */
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);
		assert_int_equal(g.token, a);
	}
}

static void test_C3_policy_gives_K_tokens_per_page_and_no_more(void **state)
{
	fake_on(&g, CONFIG(.policy.tokens_per_page = 3));

	uint32_t a = inject(&g, 7), b = inject(&g, 7), c = inject(&g, 7);

	assert_int_not_equal(a, b);
	assert_int_not_equal(b, c);
	assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_REPEAT);
	inject(&g, 8);
	apf_vcpu_page_done(g.v, 7);
	inject(&g, 7);
}

static void test_C5_full_set_halts_and_the_page_still_wakes(void **state)
{
	fake_on(&g, CONFIG(.max_outstanding = 2));
	inject(&g, 1);
	inject(&g, 2);

	struct apf_decision d = take(&g, user_fault(3));

	assert_int_equal(d.verdict, APF_HALT);
	assert_int_equal(d.why, APF_WHY_FULL);
	assert_int_equal(g.reason, 0);
	assert_int_equal(stats(&g).full, 1);
	assert_int_equal(apf_vcpu_page_done(g.v, 3) & APF_OUT_WAKE, APF_OUT_WAKE);
	apf_vcpu_page_done(g.v, 1);
	inject(&g, 4);
}

static void test_C7_page_of_a_halt_or_wait_wakes_and_tells_the_guest_nothing(void **state)
{
	struct apf_fault f = user_fault(7);

	for (int irqs = 0; irqs < 2; irqs++) {
		fake_on(&g, CONFIG());
		f.user = false;
		f.irqs_on = irqs;
		take(&g, f);
		assert_int_equal(apf_vcpu_page_done(g.v, 8), 0);
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);
		assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
		assert_string_equal(g.log, "");
	}
}

static void test_C7_only_the_last_fault_is_stood_at(void **state)
{
	struct apf_fault f = user_fault(7);

	fake_on(&g, CONFIG());
	f.user = false;
	take(&g, f);
	inject(&g, 8);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
}

static void test_C9_area_unreachable_at_np_halts(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_on(&g, CONFIG());
		g.memory.unreachable = i == 0;
		g.memory.read_only = i == 1;

		struct apf_decision d = take(&g, user_fault(7));

		assert_int_equal(d.verdict, APF_HALT);
		assert_int_equal(d.why, APF_WHY_AREA);
		assert_int_equal(apf_vcpu_outstanding(g.v), 0);
		assert_int_equal(stats(&g).np, 0);
		assert_int_equal(d.token, 0);
	}
}

static void test_C8_C12_np_waits_for_a_wake_all_to_be_sent_and_consumed(void **state)
{
	fake_on(&g, CONFIG());
	g.token = 0x77;
	apf_vcpu_broadcast(g.v);
	assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_AREA);
	ack(&g);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_AREA);
	assert_int_equal(g.reason, 0);
	ack(&g);
	inject(&g, 7);
}

static void test_C8_tokens_are_unique_over_vcpus_and_carry_the_id(void **state)
{
	static struct fake h;

	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	assert_int_equal(a & 0xfff, 5);
	assert_int_equal(b, a + (1 << 12));
	fake_init(&h, CONFIG(.vcpu_id = 4095));
	assert_true(apf_vcpu_owns(h.v, 0x1fff));
	assert_false(apf_vcpu_owns(h.v, a));
}

static void test_C8_V5_counter_wraps_past_0_and_all_ones(void **state)
{
	static const struct {
		uint32_t id, counter, first, second;
	} t[] = {
		{ 0, 0xfffff, 0xfffff000, 0x00001000 },		/* never 0 */
		{ 4095, 0xffffe, 0xffffefff, 0x00000fff },	/* never ~0 */
		{ 5, 0xfffff, 0xfffff005, 0x00000005 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_on(&g, CONFIG());
		g.v->id = t[i].id;
		g.v->counter = t[i].counter;
		assert_int_equal(inject(&g, 1), t[i].first);
		assert_int_equal(inject(&g, 2), t[i].second);
	}
}

static void test_C8_V5_wrapped_counter_skips_tokens_alive(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);	/* delivered: may be used again */
	inject(&g, 3);
	apf_vcpu_page_done(g.v, 2);	/* queued: alive */
	g.v->counter = a >> 12;
	assert_int_equal(inject(&g, 4), a);
	assert_int_equal(inject(&g, 5), b + 2 * (1 << 12));
}

static void test_C5_V5_no_token_to_be_had_halts_and_then_goes_on(void **state)
{
	fake_on(&g, CONFIG(.max_outstanding = 100));
	for (uint64_t i = 0; i < 70; i++)
		inject(&g, i);
	g.v->counter = 1;
	assert_int_equal(take(&g, user_fault(500)).why, APF_WHY_FULL);
	inject(&g, 500);
}

static void test_C13_undo_takes_back_reason_and_entry(void **state)
{
	fake_on(&g, CONFIG());

	struct apf_decision d = take(&g, user_fault(7));

	assert_int_equal(apf_vcpu_undo(g.v, d.token), 0);
	assert_int_equal(g.reason, 0);
	assert_int_equal(apf_vcpu_outstanding(g.v), 0);
	assert_int_equal(stats(&g).np, 0);
	assert_int_equal(stats(&g).waits, 1);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);
	assert_int_equal(g.token, 0);
	assert_null(broken_invariant(g.v));
}

static void test_C13_undo_after_the_page_came_ends_the_wait(void **state)
{
	fake_on(&g, CONFIG());
	g.token = 0x77;			/* nothing goes out */

	struct apf_decision d = take(&g, user_fault(7));

	apf_vcpu_page_done(g.v, 7);
	assert_int_equal(apf_vcpu_undo(g.v, d.token), APF_OUT_WAKE);
	ack(&g);
	assert_int_equal(g.token, 0);
	assert_int_equal(g.raises, 0);

	d = take(&g, user_fault(7));
	apf_vcpu_page_done(g.v, 7);
	assert_int_equal(g.token, d.token);
	assert_int_equal(apf_vcpu_undo(g.v, d.token), APF_OUT_WAKE);
	assert_int_equal(g.reason, 0);
}

static void test_statistics_keep_the_peak(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	inject(&g, 2);
	inject(&g, 3);
	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	assert_int_equal(stats(&g).max_outstanding, 3);
	assert_int_equal(stats(&g).outstanding, 1);
	assert_int_equal(stats(&g).queued, 1);
	assert_int_equal(stats(&g).faults, 3);
	assert_int_equal(stats(&g).ready, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C1_N3_np_writes_the_reason_word_and_only_that),
		cmocka_unit_test(test_N3_np_is_not_held_back_by_old_reason_or_waiting_ready),
		cmocka_unit_test(test_C4_C14_gate),
		cmocka_unit_test(test_C3_repeated_fault_halts_and_gets_no_second_token),
		cmocka_unit_test(test_C3_policy_gives_K_tokens_per_page_and_no_more),
		cmocka_unit_test(test_C5_full_set_halts_and_the_page_still_wakes),
		cmocka_unit_test(test_C7_page_of_a_halt_or_wait_wakes_and_tells_the_guest_nothing),
		cmocka_unit_test(test_C7_only_the_last_fault_is_stood_at),
		cmocka_unit_test(test_C9_area_unreachable_at_np_halts),
		cmocka_unit_test(test_C8_C12_np_waits_for_a_wake_all_to_be_sent_and_consumed),
		cmocka_unit_test(test_C8_tokens_are_unique_over_vcpus_and_carry_the_id),
		cmocka_unit_test(test_C8_V5_counter_wraps_past_0_and_all_ones),
		cmocka_unit_test(test_C8_V5_wrapped_counter_skips_tokens_alive),
		cmocka_unit_test(test_C5_V5_no_token_to_be_had_halts_and_then_goes_on),
		cmocka_unit_test(test_C13_undo_takes_back_reason_and_entry),
		cmocka_unit_test(test_C13_undo_after_the_page_came_ends_the_wait),
		cmocka_unit_test(test_statistics_keep_the_peak),
	};

	return cmocka_run_group_tests_name("engine/fault", tests, NULL, NULL);
}
