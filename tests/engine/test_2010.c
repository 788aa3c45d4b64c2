/* SPDX-License-Identifier: MIT */
/* The ABI of 2010: both notifications as #PF. What it shares with INT is tested there. */
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "fake.h"
#include "invariants.h"

#define L_ON	(AREA | APF_EN_ENABLED)

static struct fake g, h;

static void test_L1_I8_which_values_are_accepted(void **state)
{
	static const struct {
		uint32_t reg;
		uint64_t value;
		int ret;
	} t[] = {
		{ APF_MSR_EN, 0, 0 },
		{ APF_MSR_EN, L_ON, 0 },
		{ APF_MSR_EN, L_ON | APF_EN_SEND_ALWAYS, 0 },
		{ APF_MSR_EN, L_ON | 1 << 2, -EINVAL },
		{ APF_MSR_EN, L_ON | 1 << 3, -EINVAL },		/* what tells it from RFC */
		{ APF_MSR_EN, L_ON | 1 << 4, -EINVAL },
		{ APF_MSR_EN, L_ON | 1 << 5, -EINVAL },
		{ APF_MSR_EN, 1 << 3, -EINVAL },
		{ APF_MSR_EN, (RAM_BYTES - 64) | 1, 0 },
		{ APF_MSR_EN, RAM_BYTES | 1, -EINVAL },
		{ APF_MSR_EN, ~0x3full | 1, -EINVAL },
		{ APF_MSR_EN, RAM_BYTES, 0 },
		{ APF_MSR_INT, 0, -EINVAL },
		{ APF_MSR_INT, VECTOR, -EINVAL },
		{ APF_MSR_ACK, 1, -EINVAL },
	};
	uint64_t value;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, L_CONFIG(.has_lapic = i & 1));	/* needs none */
		int ret = apf_vcpu_control_write(g.v, t[i].reg, t[i].value, NULL);

		if (ret != t[i].ret)
			fail_msg("%x = %llx: %d", t[i].reg, (unsigned long long)t[i].value, ret);
		assert_int_equal(apf_vcpu_control_read(g.v, APF_MSR_EN, &value), 0);
		assert_int_equal(value, ret ? 0 : t[i].value);
	}
	assert_int_equal(apf_vcpu_control_read(g.v, APF_MSR_INT, &value), -EINVAL);
	assert_int_equal(apf_vcpu_control_read(g.v, APF_MSR_ACK, &value), -EINVAL);
}

static void test_L2_L4_np_writes_the_reason_word_and_only_that(void **state)
{
	fake_on(&g, L_CONFIG());
	g.token = 0x77;

	struct apf_decision d = take(&g, user_fault(7));

	assert_int_equal(d.verdict, APF_INJECT);
	assert_int_equal(g.reason, APF_REASON_NP);
	assert_int_equal(g.token, 0x77);	/* the word is not of this ABI */
	assert_string_equal(g.log, "N");
}

static void test_L4_gate_of_np(void **state)
{
	static const struct {
		struct apf_fault f;
		uint64_t en;
		enum apf_verdict verdict;
		enum apf_why why;
	} t[] = {
#define F(...) { .gfn = 9, .user = true, .irqs_on = true, .paging = true, __VA_ARGS__ }
		{ F(), L_ON, APF_INJECT, APF_WHY_ASYNC },
		{ F(), AREA, APF_HALT, APF_WHY_DISABLED },
		{ F(.user = false), L_ON, APF_HALT, APF_WHY_KERNEL },
		{ F(.user = false), L_ON | APF_EN_SEND_ALWAYS, APF_INJECT, APF_WHY_ASYNC },
		{ F(.paging = false), L_ON, APF_HALT, APF_WHY_NOPAGING },
		{ F(.irqs_on = false), L_ON, APF_WAIT, APF_WHY_IRQS_OFF },
		{ F(.event = true), L_ON, APF_WAIT, APF_WHY_EVENT },
		{ F(.smm = true), L_ON, APF_WAIT, APF_WHY_SMM },
		{ F(.nested = true), L_ON, APF_WAIT, APF_WHY_NESTED },
#undef F
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, L_CONFIG());
		write_reg(&g, APF_MSR_EN, t[i].en);
		enter(&g);
		g.reason = 0;

		struct apf_decision d = take(&g, t[i].f);

		if (d.verdict != t[i].verdict || d.why != t[i].why)
			fail_msg("case %zu: verdict %d why %d", i, d.verdict, d.why);
		assert_int_equal(g.reason, d.verdict == APF_INJECT ? APF_REASON_NP : 0);
	}
}

static void test_L3_ids_of_12_bits_and_a_counter_of_20(void **state)
{
	static const enum apf_abi_id abis[] = { APF_ABI_X86_2010, APF_ABI_X86_RFC };
	struct apf_engine_ops ops = { 0 };

	for (size_t i = 0; i < 2; i++) {
		struct apf_vcpu_config cfg = CONFIG(.abi = abis[i], .vcpu_id = 4096);

		assert_int_equal(apf_vcpu_init(h.mem, sizeof(h.mem), &cfg, &ops, NULL, &h.v),
				 -EINVAL);
		assert_string_not_equal(apf_error(), "");
		cfg.vcpu_id = 4095;
		assert_int_equal(apf_vcpu_init(h.mem, sizeof(h.mem), &cfg, &ops, NULL, &h.v), 0);
		fake_on(&g, CONFIG(.abi = abis[i]));
		uint32_t a = inject(&g, 1), b = inject(&g, 2);

		assert_int_equal(a & 0xfff, 5);
		assert_int_equal(b, a + (1 << 12));
	}
}

static void test_L5_ready_is_injected_where_the_vcpu_enters_and_once(void **state)
{
	fake_on(&g, L_CONFIG());
	uint32_t a = inject(&g, 7);

	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_KICK);
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);	/* from anywhere it cannot go */
	assert_string_equal(g.log, "");
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "YP");	/* C13: the word, then the exception */
	assert_int_equal(g.reason, APF_REASON_READY);
	assert_int_equal(g.cr2, a);
	assert_int_equal(g.raises, 0);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.injects, 1);
	assert_int_equal(stats(&g).ready, 1);
}

static void test_L5_C11_C14_gate_of_ready(void **state)
{
	static const struct {
		struct apf_fault at;
		bool out;
	} t[] = {
#define F(...) { .user = true, .irqs_on = true, .paging = true, __VA_ARGS__ }
		{ F(), true },
		{ F(.user = false), true },	/* at any privilege, also without send-always */
		{ F(.irqs_on = false), false },
		{ F(.irq_shadow = true), false },
		{ F(.event = true), false },
		{ F(.paging = false), false },
		{ F(.smm = true), false },
		{ F(.nested = true), false },
#undef F
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_on(&g, L_CONFIG());
		uint32_t a = inject(&g, 7);

		apf_vcpu_page_done(g.v, 7);
		fake_forget(&g);
		if (apf_vcpu_enter(g.v, &t[i].at) != (t[i].out ? 0 : APF_OUT_LATER))
			fail_msg("case %zu", i);
		assert_string_equal(g.log, t[i].out ? "YP" : "");
		assert_int_equal(stats(&g).queued, !t[i].out);
		enter(&g);
		assert_int_equal(handle(&g), a);
	}
}

static void test_L5_readies_follow_each_other_with_a_look_in_between(void **state)
{
	fake_on(&g, L_CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	assert_int_equal(enter(&g), APF_OUT_LATER);	/* nobody will tell when it was handled */
	assert_int_equal(handle(&g), a);
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), b);
}

static void test_C13_injection_that_fails_takes_the_reason_word_back(void **state)
{
	fake_on(&g, L_CONFIG());
	uint32_t a = inject(&g, 7);

	apf_vcpu_page_done(g.v, 7);
	fake_forget(&g);
	g.inject_result = -EAGAIN;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_string_equal(g.log, "YPn");
	assert_int_equal(g.reason, 0);
	assert_int_equal(stats(&g).ready, 0);
	g.inject_result = 0;
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), a);
}

static void test_C9_area_unreachable_at_ready_keeps_it_queued(void **state)
{
	fake_on(&g, L_CONFIG());
	inject(&g, 7);
	apf_vcpu_page_done(g.v, 7);
	g.memory.unreachable = true;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_int_equal(g.injects, 0);
	g.memory.unreachable = false;
	assert_int_equal(enter(&g), 0);
	assert_int_equal(g.injects, 1);
}

static void test_L6_failed_fetch_wakes_all_and_leaves_the_set(void **state)
{
	static const enum apf_abi_id abis[] = { APF_ABI_X86_2010, APF_ABI_X86_RFC };

	for (size_t i = 0; i < 2; i++) {
		fake_on(&g, CONFIG(.abi = abis[i]));
		uint32_t a = inject(&g, 7);

		inject(&g, 8);
		apf_vcpu_page_failed(g.v, 7);
		enter(&g);
		assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
		assert_int_equal(apf_vcpu_outstanding(g.v), 0);
		/* The other page's waiter was woken with it: its page completes silently. */
		assert_int_equal(apf_vcpu_page_done(g.v, 8), 0);
		assert_true(inject(&g, 7) > a);		/* does not halt for ever */
		assert_int_equal(stats(&g).broadcasts, 2);
	}
}

static void test_L6_page_that_is_not_waited_for_wakes_nobody(void **state)
{
	struct apf_fault f = user_fault(9);

	fake_on(&g, L_CONFIG());
	inject(&g, 7);
	assert_int_equal(apf_vcpu_page_failed(g.v, 8), 0);
	f.user = false;
	take(&g, f);
	assert_int_equal(apf_vcpu_page_failed(g.v, 9), APF_OUT_WAKE);	/* C7 */
	assert_int_equal(stats(&g).queued, 0);
}

static void test_L7_C10_after_disabling_a_page_is_only_retired(void **state)
{
	fake_on(&g, L_CONFIG());
	inject(&g, 1);
	inject(&g, 2);
	apf_vcpu_page_done(g.v, 1);
	fake_forget(&g);
	assert_int_equal(write_reg(&g, APF_MSR_EN, 0), 0);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
	assert_int_equal(apf_vcpu_page_failed(g.v, 3), 0);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "");
	assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
}

static void test_C7_page_of_an_np_not_delivered_tells_the_guest_nothing(void **state)
{
	static const enum apf_abi_id abis[] = { APF_ABI_X86_2010, APF_ABI_X86_RFC };
	struct apf_fault f = user_fault(7);

	for (size_t i = 0; i < 4; i++) {
		fake_on(&g, CONFIG(.abi = abis[i % 2]));
		f.user = false;
		f.irqs_on = i / 2;
		take(&g, f);
		assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);
		assert_int_equal(enter(&g), 0);
		assert_string_equal(g.log, "");
	}
}

static void test_L10_enabling_sends_one_wake_all_each_time(void **state)
{
	fake_init(&g, L_CONFIG());
	assert_int_equal(write_reg(&g, APF_MSR_EN, L_ON), APF_OUT_KICK);
	assert_int_equal(write_reg(&g, APF_MSR_EN, L_ON), APF_OUT_KICK);
	assert_int_equal(take(&g, user_fault(1)).why, APF_WHY_AREA);	/* nothing before it */
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(g.injects, 1);
	inject(&g, 1);
	assert_int_equal(write_reg(&g, APF_MSR_EN, L_ON), APF_OUT_KICK);
	enter(&g);
	assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
	assert_int_equal(apf_vcpu_outstanding(g.v), 0);	/* it answers what was before it */
}

static void test_L11_ready_asks_for_a_halted_vcpu(void **state)
{
	fake_on(&g, L_CONFIG());
	uint32_t a = inject(&g, 7);

	/* Halted by itself (a real HLT) or by us, for another page: one kick for both. */
	assert_int_equal(take(&g, user_fault(7)).verdict, APF_HALT);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE | APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), a);
}

static void test_freeze_holds_the_exception_back(void **state)
{
	fake_on(&g, L_CONFIG());
	inject(&g, 7);
	fake_forget(&g);
	apf_vcpu_freeze(g.v, true);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), 0);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "");
	apf_vcpu_freeze(g.v, false);
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(g.injects, 1);
}

static void test_C12_saved_readies_go_out_after_the_load(void **state)
{
	uint8_t bytes[256];
	size_t size;

	fake_on(&g, L_CONFIG());
	uint32_t a = inject(&g, 7), b = inject(&g, 8);

	apf_vcpu_page_done(g.v, 7);
	size = apf_vcpu_save(g.v, bytes, sizeof(bytes));
	assert_int_equal(size, 32 + 8 + 2 * 12);	/* one control word */
	fake_init(&h, L_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, bytes, size), 0);
	assert_int_equal(apf_vcpu_poll(h.v), APF_OUT_KICK);
	assert_int_equal(enter(&h), 0);
	assert_int_equal(handle(&h), a);
	assert_int_equal(apf_vcpu_page_done(h.v, 8), APF_OUT_KICK);
	enter(&h);
	assert_int_equal(handle(&h), b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_L1_I8_which_values_are_accepted),
		cmocka_unit_test(test_L2_L4_np_writes_the_reason_word_and_only_that),
		cmocka_unit_test(test_L4_gate_of_np),
		cmocka_unit_test(test_L3_ids_of_12_bits_and_a_counter_of_20),
		cmocka_unit_test(test_L5_ready_is_injected_where_the_vcpu_enters_and_once),
		cmocka_unit_test(test_L5_C11_C14_gate_of_ready),
		cmocka_unit_test(test_L5_readies_follow_each_other_with_a_look_in_between),
		cmocka_unit_test(test_C13_injection_that_fails_takes_the_reason_word_back),
		cmocka_unit_test(test_C9_area_unreachable_at_ready_keeps_it_queued),
		cmocka_unit_test(test_L6_failed_fetch_wakes_all_and_leaves_the_set),
		cmocka_unit_test(test_L6_page_that_is_not_waited_for_wakes_nobody),
		cmocka_unit_test(test_L7_C10_after_disabling_a_page_is_only_retired),
		cmocka_unit_test(test_C7_page_of_an_np_not_delivered_tells_the_guest_nothing),
		cmocka_unit_test(test_L10_enabling_sends_one_wake_all_each_time),
		cmocka_unit_test(test_L11_ready_asks_for_a_halted_vcpu),
		cmocka_unit_test(test_freeze_holds_the_exception_back),
		cmocka_unit_test(test_C12_saved_readies_go_out_after_the_load),
	};

	return cmocka_run_group_tests_name("engine/2010", tests, NULL, NULL);
}
