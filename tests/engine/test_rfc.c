/* SPDX-License-Identifier: MIT */
/* The ABI of the 2020 request for comments: ready as an interrupt in the area of NP. */
#include <errno.h>
#include <string.h>

#include "fake.h"
#include "invariants.h"

#define PF2_ON	(VECTOR | APF_PF2_ENABLED)
#define L_ON	(AREA | APF_EN_ENABLED)		/* without bit 3: as 2010 */

static struct fake g, h;

static void test_I1_I2_I8_which_values_are_accepted(void **state)
{
	static const struct {
		uint32_t reg;
		uint64_t value;
		bool no_lapic;
		int ret;
	} t[] = {
		{ APF_MSR_EN, EN_ON, 0, 0 },
		{ APF_MSR_EN, L_ON, 0, 0 },
		{ APF_MSR_EN, L_ON, 1, 0 },
		{ APF_MSR_EN, APF_EN_INT, 0, 0 },	/* what a guest probes */
		{ APF_MSR_EN, EN_ON | 1 << 2, 0, -EINVAL },
		{ APF_MSR_EN, EN_ON | 1 << 4, 0, -EINVAL },
		{ APF_MSR_EN, EN_ON | 1 << 5, 0, -EINVAL },
		{ APF_MSR_EN, RAM_BYTES | 9, 0, -EINVAL },
		{ APF_MSR_EN, RAM_BYTES | 1, 0, -EINVAL },
		{ APF_MSR_EN, ~0x3full | 9, 0, -EINVAL },
		{ APF_MSR_INT, PF2_ON, 0, 0 },
		{ APF_MSR_INT, VECTOR, 0, 0 },
		{ APF_MSR_INT, 0x1ff, 0, 0 },
		{ APF_MSR_INT, PF2_ON, 1, -EINVAL },
		{ APF_MSR_INT, 0, 1, -EINVAL },
		{ APF_MSR_INT, 1 << 9, 0, -EINVAL },
		{ APF_MSR_INT, 1ull << 63 | PF2_ON, 0, -EINVAL },
		{ APF_MSR_ACK, 0, 0, -EINVAL },
		{ APF_MSR_ACK, 1, 0, -EINVAL },
	};
	uint64_t value;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, RFC_CONFIG(.has_lapic = !t[i].no_lapic));
		int ret = apf_vcpu_control_write(g.v, t[i].reg, t[i].value, NULL);

		if (ret != t[i].ret)
			fail_msg("%x = %llx: %d", t[i].reg, (unsigned long long)t[i].value, ret);
		if (t[i].reg == APF_MSR_ACK)
			continue;
		assert_int_equal(apf_vcpu_control_read(g.v, t[i].reg, &value), 0);
		assert_int_equal(value, ret ? 0 : t[i].value);
	}
	assert_int_equal(apf_vcpu_control_read(g.v, APF_MSR_ACK, &value), -EINVAL);
}

static void test_I2_both_registers_are_saved_and_loaded(void **state)
{
	uint8_t bytes[256];
	uint64_t value;
	size_t size;

	fake_on(&g, RFC_CONFIG());
	uint32_t a = inject(&g, 7);

	size = apf_vcpu_save(g.v, bytes, sizeof(bytes));
	fake_init(&h, RFC_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, bytes, size), 0);
	assert_int_equal(apf_vcpu_control_read(h.v, APF_MSR_EN, &value), 0);
	assert_int_equal(value, EN_ON);
	assert_int_equal(apf_vcpu_control_read(h.v, APF_MSR_INT, &value), 0);
	assert_int_equal(value, PF2_ON);
	apf_vcpu_page_done(h.v, 7);
	assert_int_equal(h.vector, VECTOR);
	assert_int_equal(handle(&h), a);
	/* PF2 without a local APIC, and a bit that cannot have been written. */
	fake_init(&h, RFC_CONFIG(.has_lapic = false));
	assert_int_equal(apf_vcpu_load(h.v, bytes, size), -EINVAL);
	fake_init(&h, RFC_CONFIG());
	bytes[32 + 8 + 1] |= 2;
	assert_int_equal(apf_vcpu_load(h.v, bytes, size), -EINVAL);
}

static void test_I3_wake_all_waits_until_PF2_is_enabled(void **state)
{
	fake_init(&g, RFC_CONFIG());
	assert_int_equal(write_reg(&g, APF_MSR_EN, EN_ON), 0);	/* PF2 will tell: no timer */
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(write_reg(&g, APF_MSR_INT, VECTOR), 0);
	assert_string_equal(g.log, "");
	assert_int_equal(write_reg(&g, APF_MSR_INT, PF2_ON), 0);
	assert_string_equal(g.log, "TYR");
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.raises, 1);
}

static void test_I3_either_order_of_the_registers_gives_one_wake_all(void **state)
{
	for (int en_first = 0; en_first < 2; en_first++) {
		fake_init(&g, RFC_CONFIG());
		write_reg(&g, en_first ? APF_MSR_EN : APF_MSR_INT, en_first ? EN_ON : PF2_ON);
		assert_string_equal(g.log, "");
		write_reg(&g, en_first ? APF_MSR_INT : APF_MSR_EN, en_first ? PF2_ON : EN_ON);
		assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
		assert_int_equal(apf_vcpu_poll(g.v), 0);
		assert_int_equal(stats(&g).broadcasts, 1);
	}
}

static void test_I3_C12_each_write_of_PF2_with_bit_8_sends_a_wake_all(void **state)
{
	fake_on(&g, RFC_CONFIG());
	inject(&g, 7);
	write_reg(&g, APF_MSR_INT, PF2_ON);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(stats(&g).outstanding, 0);	/* it is the ready of 7 */
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	/* Not without bit 8, nor while APF is off; one while one is queued. */
	write_reg(&g, APF_MSR_INT, VECTOR);
	assert_int_equal(stats(&g).queued, 0);
	write_reg(&g, APF_MSR_EN, 0);
	assert_int_equal(write_reg(&g, APF_MSR_INT, PF2_ON), 0);
	assert_int_equal(stats(&g).queued, 0);
	assert_int_equal(g.raises, 1);
	/* Without EN bit 3 it is carried as any other ready. */
	write_reg(&g, APF_MSR_EN, L_ON);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(write_reg(&g, APF_MSR_INT, PF2_ON), APF_OUT_KICK);
	assert_int_equal(write_reg(&g, APF_MSR_INT, PF2_ON), APF_OUT_KICK);
	assert_int_equal(stats(&g).queued, 1);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(g.raises, 1);
}

static void test_I3_nothing_is_delivered_while_PF2_is_off(void **state)
{
	fake_on(&g, RFC_CONFIG());
	inject(&g, 7);
	write_reg(&g, APF_MSR_INT, VECTOR);
	fake_forget(&g);
	assert_int_equal(take(&g, user_fault(8)).why, APF_WHY_DISABLED);
	assert_int_equal(take(&g, user_fault(8)).verdict, APF_HALT);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "");
	assert_int_equal(stats(&g).queued, 1);
	write_reg(&g, APF_MSR_INT, PF2_ON);	/* its wake-all is the ready of 7, too */
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(stats(&g).queued, 0);
}

static void test_I4_np_waits_while_the_area_is_not_free(void **state)
{
	static const uint32_t words[] = { APF_REASON_READY, APF_REASON_NP, 0xdead };

	for (size_t i = 0; i < 3; i++) {
		fake_on(&g, RFC_CONFIG());
		g.reason = words[i];
		struct apf_decision d = take(&g, user_fault(7));

		assert_int_equal(d.verdict, APF_WAIT);
		assert_int_equal(d.why, APF_WHY_BUSY);
		assert_int_equal(g.reason, words[i]);
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);	/* C7 */
		g.reason = 0;
		inject(&g, 7);
	}
}

static void test_I4_ready_stays_queued_while_the_area_is_not_free(void **state)
{
	fake_on(&g, RFC_CONFIG());
	struct apf_decision d = take(&g, user_fault(7));	/* the guest has not read it yet */

	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_LATER);	/* nobody will tell */
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_LATER);
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_int_equal(g.raises, 0);
	assert_int_equal(g.reason, APF_REASON_NP);
	assert_int_equal(g.token, d.token);
	g.reason = 0;
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(handle(&g), d.token);
}

static void test_I4_the_next_ready_waits_for_the_handler_of_the_last(void **state)
{
	fake_on(&g, RFC_CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), APF_OUT_LATER);
	assert_int_equal(g.token, a);
	assert_int_equal(g.raises, 1);
	handle(&g);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(handle(&g), b);
}

static void test_I5_C15_reason_and_token_then_the_interrupt(void **state)
{
	fake_on(&g, RFC_CONFIG());
	uint32_t a = inject(&g, 7);

	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_string_equal(g.log, "TYR");
	assert_int_equal(g.reason, APF_REASON_READY);
	assert_int_equal(g.token, a);
	assert_int_equal(g.vector, VECTOR);
	assert_int_equal(g.injects, 0);
	assert_int_equal(stats(&g).ready, 1);
}

static void test_I5_I6_the_area_names_the_token_of_every_notification(void **state)
{
	static const uint64_t en[] = { EN_ON, L_ON };	/* whatever carries the ready */

	for (size_t i = 0; i < 2; i++) {
		fake_on(&g, RFC_CONFIG());
		write_reg(&g, APF_MSR_EN, en[i]);
		enter(&g);
		assert_int_equal(g.token, APF_TOKEN_BROADCAST);
		handle(&g);
		fake_forget(&g);
		uint32_t a = take(&g, user_fault(7)).token;

		assert_string_equal(g.log, "TN");
		assert_int_equal(g.token, a);
		g.reason = g.token = 0;
		fake_forget(&g);
		apf_vcpu_page_done(g.v, 7);
		enter(&g);
		assert_string_equal(g.log, en[i] == EN_ON ? "TYR" : "TYP");
		assert_int_equal(g.token, a);
		assert_int_equal(g.cr2, en[i] == EN_ON ? 0 : a);
	}
}

static void test_I5_C9_C13_the_words_are_written_both_or_not_at_all(void **state)
{
	struct apf_decision d;

	fake_on(&g, RFC_CONFIG());
	g.fixed_reason = true;
	d = take(&g, user_fault(7));
	assert_int_equal(d.why, APF_WHY_AREA);
	assert_int_equal(g.reason | g.token, 0);
	g.fixed_reason = false;
	d = take(&g, user_fault(7));
	assert_int_equal(d.verdict, APF_INJECT);
	assert_int_equal(apf_vcpu_undo(g.v, d.token), 0);
	assert_int_equal(g.reason | g.token, 0);
	inject(&g, 7);
	g.token = 0;
	g.fixed_reason = true;
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_LATER);
	assert_int_equal(g.reason | g.token, 0);
	assert_int_equal(g.raises, 0);
}

static void test_I6_L5_a_ready_as_an_exception_that_fails_leaves_the_area_free(void **state)
{
	fake_on(&g, RFC_CONFIG());
	write_reg(&g, APF_MSR_EN, L_ON);
	g.inject_result = -EAGAIN;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_int_equal(g.reason | g.token, 0);
	g.inject_result = 0;
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
}

static void test_I6_L5_a_ready_as_an_exception_waits_until_it_can_be_taken(void **state)
{
	struct apf_fault at = user_fault(0);

	fake_on(&g, RFC_CONFIG());
	write_reg(&g, APF_MSR_EN, L_ON);
	at.irqs_on = false;
	assert_int_equal(apf_vcpu_enter(g.v, &at), APF_OUT_LATER);
	assert_string_equal(g.log, "");
	at.irqs_on = true;
	assert_int_equal(apf_vcpu_enter(g.v, &at), 0);
	assert_int_equal(g.injects, 1);
}

static void test_I5_refused_interrupt_leaves_the_area_free_for_a_later_try(void **state)
{
	static const int refusals[] = { 0, -1 };

	for (size_t i = 0; i < 2; i++) {
		fake_on(&g, RFC_CONFIG());
		uint32_t a = inject(&g, 7);

		fake_forget(&g);
		g.raise_result = refusals[i];
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_LATER);
		assert_string_equal(g.log, "TYRn0");
		assert_int_equal(g.reason | g.token, 0);
		assert_int_equal(stats(&g).ready, 0);
		g.raise_result = 1;
		assert_int_equal(apf_vcpu_poll(g.v), 0);
		assert_int_equal(handle(&g), a);
	}
}

static void test_I5_vector_below_16_is_dropped_by_the_apic_and_does_not_spin(void **state)
{
	fake_on(&g, RFC_CONFIG());
	write_reg(&g, APF_MSR_INT, 15 | APF_PF2_ENABLED);
	handle(&g);
	inject(&g, 7);
	g.raise_result = 0;
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(stats(&g).queued, 0);
	assert_int_equal(g.reason, APF_REASON_READY);
}

static void test_C9_area_unreachable(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_on(&g, RFC_CONFIG());
		uint32_t a = inject(&g, 7);

		g.memory.unreachable = i == 0;
		g.memory.read_only = i == 1;
		assert_int_equal(take(&g, user_fault(8)).why, APF_WHY_AREA);
		assert_int_equal(take(&g, user_fault(8)).verdict, APF_HALT);
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_LATER);
		assert_int_equal(g.raises, 0);
		g.memory.unreachable = g.memory.read_only = false;
		assert_int_equal(apf_vcpu_poll(g.v), 0);
		assert_int_equal(handle(&g), a);
	}
}

static void test_C10_disabling_takes_back_a_ready_not_consumed(void **state)
{
	static const uint64_t off[] = { 0, L_ON };	/* or no longer as an interrupt */

	for (size_t i = 0; i < 2; i++) {
		fake_on(&g, RFC_CONFIG());
		inject(&g, 7);
		apf_vcpu_page_done(g.v, 7);
		assert_int_equal(g.reason, APF_REASON_READY);
		write_reg(&g, APF_MSR_EN, off[i]);
		assert_int_equal(g.reason | g.token, 0);
		assert_int_equal(stats(&g).outstanding, 0);
		write_reg(&g, APF_MSR_EN, EN_ON);
		assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	}
}

static void test_C10_disabling_drops_everything(void **state)
{
	fake_on(&g, RFC_CONFIG());
	inject(&g, 1);
	inject(&g, 2);
	apf_vcpu_page_done(g.v, 1);
	handle(&g);
	inject(&g, 3);
	write_reg(&g, APF_MSR_EN, EN_ON & ~APF_EN_ENABLED);
	assert_false(apf_vcpu_enabled(g.v));
	assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
	assert_int_equal(write_reg(&g, APF_MSR_INT, PF2_ON), 0);
	assert_string_equal(g.log, "");
}

static void test_I6_without_bit_3_as_2010(void **state)
{
	fake_init(&g, RFC_CONFIG());
	write_reg(&g, APF_MSR_INT, PF2_ON);
	assert_int_equal(write_reg(&g, APF_MSR_EN, L_ON), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "TYP");
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	uint32_t a = inject(&g, 7);

	/* No word holds anything back, no interrupt is raised. */
	g.reason = 0xdead;
	take(&g, user_fault(8));
	assert_int_equal(g.reason, APF_REASON_NP);
	g.reason = 0;
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), a);
	assert_int_equal(g.raises, 0);
}

static void test_I1_send_always(void **state)
{
	struct apf_fault f = user_fault(7);

	fake_on(&g, RFC_CONFIG());
	f.user = false;
	assert_int_equal(take(&g, f).why, APF_WHY_KERNEL);
	write_reg(&g, APF_MSR_EN, EN_ON | APF_EN_SEND_ALWAYS);
	handle(&g);
	assert_int_equal(take(&g, f).verdict, APF_INJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_I1_I2_I8_which_values_are_accepted),
		cmocka_unit_test(test_I2_both_registers_are_saved_and_loaded),
		cmocka_unit_test(test_I3_wake_all_waits_until_PF2_is_enabled),
		cmocka_unit_test(test_I3_either_order_of_the_registers_gives_one_wake_all),
		cmocka_unit_test(test_I3_C12_each_write_of_PF2_with_bit_8_sends_a_wake_all),
		cmocka_unit_test(test_I3_nothing_is_delivered_while_PF2_is_off),
		cmocka_unit_test(test_I4_np_waits_while_the_area_is_not_free),
		cmocka_unit_test(test_I4_ready_stays_queued_while_the_area_is_not_free),
		cmocka_unit_test(test_I4_the_next_ready_waits_for_the_handler_of_the_last),
		cmocka_unit_test(test_I5_C15_reason_and_token_then_the_interrupt),
		cmocka_unit_test(test_I5_I6_the_area_names_the_token_of_every_notification),
		cmocka_unit_test(test_I5_C9_C13_the_words_are_written_both_or_not_at_all),
		cmocka_unit_test(test_I6_L5_a_ready_as_an_exception_that_fails_leaves_the_area_free),
		cmocka_unit_test(test_I6_L5_a_ready_as_an_exception_waits_until_it_can_be_taken),
		cmocka_unit_test(test_I5_refused_interrupt_leaves_the_area_free_for_a_later_try),
		cmocka_unit_test(test_I5_vector_below_16_is_dropped_by_the_apic_and_does_not_spin),
		cmocka_unit_test(test_C9_area_unreachable),
		cmocka_unit_test(test_C10_disabling_takes_back_a_ready_not_consumed),
		cmocka_unit_test(test_C10_disabling_drops_everything),
		cmocka_unit_test(test_I6_without_bit_3_as_2010),
		cmocka_unit_test(test_I1_send_always),
	};

	return cmocka_run_group_tests_name("engine/rfc", tests, NULL, NULL);
}
