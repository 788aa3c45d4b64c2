/* SPDX-License-Identifier: MIT */
/* arm64: NP, and ready in the first revision: data aborts and where they may come. */
#include <errno.h>
#include <string.h>

#include "fake.h"
#include "invariants.h"

#define PC_IN	0xffff800080001008ull	/* in the region of the tables below */

static struct fake g;

/* At EL1, interrupts on. */
static struct apf_fault kernel_fault(uint64_t gfn)
{
	struct apf_fault f = user_fault(gfn);

	f.user = false;
	return f;
}

/* The vCPU is about to enter at EL1. */
static unsigned int enter_kernel(void)
{
	const struct apf_fault at = kernel_fault(0);

	return apf_vcpu_enter(g.v, &at);
}

#define F(...) (struct apf_fault) { .gfn = 7, .user = true, .irqs_on = true, .paging = true, \
	__VA_ARGS__ }

static void test_A5_A6_A11_C4_the_gate_of_np(void **state)
{
	static const struct {
		const char *name;
		struct apf_fault f;
		uint64_t what;
		uint32_t reason, busy;
		enum apf_verdict verdict;
		enum apf_why why;
	} t[] = {
		{ "plain", F(), A_ON, 0, 0, APF_INJECT, APF_WHY_ASYNC },
		{ "off", F(), 0, 0, 0, APF_HALT, APF_WHY_DISABLED },
		{ "interrupts off", F(.irqs_on = false), A_ON, 0, 0, APF_WAIT, APF_WHY_IRQS_OFF },
		{ "event", F(.event = true), A_ON, 0, 0, APF_WAIT, APF_WHY_EVENT },
		{ "EL1", F(.user = false), A_ON, 0, 0, APF_HALT, APF_WHY_KERNEL },
		{ "EL1, send always", F(.user = false), A_ON | APF_ARM64_SEND_ALWAYS, 0, 0,
		  APF_INJECT, APF_WHY_ASYNC },
		{ "reason NP", F(), A_ON, 1, 0, APF_WAIT, APF_WHY_BUSY },
		{ "reason ready", F(), A_ON, 2, 0, APF_WAIT, APF_WHY_BUSY },
		{ "reason garbage", F(), A_ON, 0x80000000, 0, APF_WAIT, APF_WHY_BUSY },
		{ "busy", F(), A_ON | APF_ARM64_BUSY, 0, 1, APF_WAIT, APF_WHY_REGION },
		{ "busy garbage", F(), A_ON | APF_ARM64_BUSY, 0, 0x80000000, APF_WAIT,
		  APF_WHY_REGION },
		{ "busy, not kept", F(), A_ON, 0, 1, APF_INJECT, APF_WHY_ASYNC },
		{ "busy at EL1", F(.user = false), A_ON | APF_ARM64_BUSY, 0, 1, APF_WAIT,
		  APF_WHY_REGION },
		{ "region", F(.pc = PC_IN), A_ON, 0, 0, APF_WAIT, APF_WHY_REGION },
		{ "region, send always", F(.user = false, .pc = PC_IN),
		  A_ON | APF_ARM64_SEND_ALWAYS, 0, 0, APF_WAIT, APF_WHY_REGION },
		{ "region, off", F(.pc = PC_IN), 0, 0, 0, APF_HALT, APF_WHY_DISABLED },
		{ "both", F(.pc = PC_IN), A_ON, 1, 0, APF_WAIT, APF_WHY_BUSY },
	};

	for (size_t i = 0; i < 2 * sizeof(t) / sizeof(t[0]); i++) {
		const uint64_t what = t[i / 2].what | (i & 1 ? APF_ARM64_INT : 0);
		struct apf_decision d;

		fake_init(&g, A_CONFIG());
		ask(&g, OP(REGION), PC_IN & ~0xfull, 0x10);
		if (t[i / 2].what)
			ask(&g, what, 0, 0);
		enter(&g);
		g.reason = g.token = 0;
		g.reason = t[i / 2].reason;
		g.busy = t[i / 2].busy;
		d = take(&g, t[i / 2].f);
		if (d.verdict != t[i / 2].verdict || d.why != t[i / 2].why)
			fail_msg("%s, revision %d: %d %d", t[i / 2].name, (int)(i & 1) + 1,
				 d.verdict, d.why);
		assert_int_equal(!!d.token, d.verdict == APF_INJECT);
		assert_int_equal(g.reason, d.token ? APF_ARM64_REASON_NP : t[i / 2].reason);
	}
}

static void test_A10_regions_have_a_start_and_an_end(void **state)
{
	static const struct {
		uint64_t start, size, pc;
		bool in;
	} t[] = {
		{ 0x1000, 0x10, 0xfff, false },
		{ 0x1000, 0x10, 0x1000, true },
		{ 0x1000, 0x10, 0x100f, true },
		{ 0x1000, 0x10, 0x1010, false },
		{ 0x1000, 0x10, 0x100001000, false },
		{ ~0xfull, 0xf, ~0ull - 1, true },
		{ ~0xfull, 0xf, 0, false },
		{ 0, ~0ull, 1, true },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (unsigned int others = 0; others < APF_ARM64_REGIONS; others++) {
			fake_init(&g, A_CONFIG());
			for (unsigned int n = 0; n < others; n++)
				ask(&g, OP(REGION), 0x77770000 + n, 1);
			ask(&g, OP(REGION), t[i].start, t[i].size);
			ask(&g, A_ON_INT, 0, 0);
			arm_ack(&g);
			assert_int_equal(take(&g, F(.pc = t[i].pc)).why,
					 t[i].in ? APF_WHY_REGION : APF_WHY_ASYNC);
		}
}

static void test_A6_a_cleared_region_holds_nothing_off(void **state)
{
	fake_init(&g, A_CONFIG());
	ask(&g, OP(REGION), 0x1000, 0x10);
	ask(&g, OP(REGION) | APF_ARM64_REGION_CLEAR, 0, 0);
	ask(&g, A_ON_INT, 0, 0);
	arm_ack(&g);
	assert_int_equal(take(&g, F(.pc = 0x1008)).why, APF_WHY_ASYNC);
}

static void test_C9_np_halts_while_the_area_is_out_of_reach(void **state)
{
	static const uint64_t on[] = { A_ON, A_ON | APF_ARM64_BUSY, A_ON_INT };

	for (size_t i = 0; i < 6; i++) {
		fake_arm_on(&g, A_CONFIG(), on[i / 2]);
		g.memory.unreachable = i & 1;
		g.memory.read_only = !(i & 1);
		assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_AREA);
		assert_int_equal(take(&g, user_fault(7)).verdict, APF_HALT);
		assert_int_equal(apf_vcpu_outstanding(g.v), 0);
	}
}

static void test_C13_np_and_its_reason_are_undone_together(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	struct apf_decision d = take(&g, user_fault(7));

	assert_int_equal(apf_vcpu_undo(g.v, d.token), 0);
	assert_string_equal(g.log, "Nn");
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_WAKE);
}

static void test_A5_A8_ready_is_reason_2_and_an_abort_at_the_entry(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	uint32_t a = inject(&g, 7);

	fake_forget(&g);
	assert_int_equal(apf_vcpu_page_done(g.v, 7), APF_OUT_KICK);
	assert_string_equal(g.log, "");
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_string_equal(g.log, "YP");
	assert_int_equal(g.cr2, a);
	assert_int_equal(g.raises, 0);
	assert_int_equal(handle(&g), a);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(g.injects, 1);
}

static void test_A8_nothing_halts_while_a_notification_is_not_consumed(void **state)
{
	static const struct {
		struct apf_policy policy;
		enum apf_why why;	/* once it is consumed */
	} t[] = { { { 0 }, APF_WHY_REPEAT }, { { .never_async = true }, APF_WHY_DISABLED } };

	for (size_t i = 0; i < 4; i++) {
		fake_arm_on(&g, A_CONFIG(.policy = t[i / 2].policy), i & 1 ? A_ON_INT : A_ON);
		take(&g, user_fault(7));
		g.reason = APF_ARM64_REASON_NP;
		assert_int_equal(take(&g, user_fault(7)).verdict, APF_WAIT);
		assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_BUSY);
		g.reason = 0;
		assert_int_equal(take(&g, user_fault(7)).verdict, APF_HALT);
		assert_int_equal(take(&g, user_fault(7)).why, t[i / 2].why);
	}
}

static void test_A8_the_area_of_a_guest_without_apf_is_not_looked_at(void **state)
{
	fake_init(&g, A_CONFIG());
	g.reason = APF_ARM64_REASON_NP;
	assert_int_equal(take(&g, user_fault(7)).why, APF_WHY_DISABLED);
}

static void test_A5_the_next_ready_waits_until_the_last_is_consumed_and_nobody_tells(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_page_done(g.v, 2);
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_int_equal(g.injects, 1);
	assert_int_equal(handle(&g), a);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), b);
}

static void test_A6_A11_the_gate_of_ready(void **state)
{
	static const struct {
		const char *name;
		struct apf_fault at;
		uint64_t flags;
		bool region;
		uint32_t reason, busy;
		bool sent;
	} t[] = {
		{ "plain", F(), 0, 0, 0, 0, true },
		{ "interrupts off", F(.irqs_on = false), 0, 0, 0, 0, false },
		{ "event", F(.event = true), 0, 0, 0, 0, false },
		{ "reason", F(), 0, 0, 1, 0, false },
		{ "EL1, nothing offered", F(.user = false), 0, 0, 0, 0, false },
		{ "EL1, busy word", F(.user = false), APF_ARM64_BUSY, 0, 0, 0, true },
		{ "EL1, busy", F(.user = false), APF_ARM64_BUSY, 0, 0, 1, false },
		{ "busy", F(), APF_ARM64_BUSY, 0, 0, 1, false },
		{ "busy, not kept", F(), 0, 0, 0, 1, true },
		{ "EL1, region", F(.user = false), 0, true, 0, 0, true },
		{ "EL1, in the region", F(.user = false, .pc = PC_IN), 0, true, 0, 0, false },
		{ "in the region", F(.pc = PC_IN), 0, true, 0, 0, false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, A_CONFIG());
		if (t[i].region)
			ask(&g, OP(REGION), PC_IN & ~0xfull, 0x10);
		ask(&g, A_ON | t[i].flags, 0, 0);
		enter(&g);
		handle(&g);
		uint32_t a = inject(&g, 9);

		apf_vcpu_page_done(g.v, 9);
		fake_forget(&g);
		g.reason = t[i].reason;
		g.busy = t[i].busy;
		unsigned int out = apf_vcpu_enter(g.v, &t[i].at);

		if (out != (t[i].sent ? 0 : APF_OUT_LATER) || g.injects != t[i].sent)
			fail_msg("%s: %u, %u", t[i].name, out, g.injects);
		assert_string_equal(g.log, t[i].sent ? "YP" : "");
		if (t[i].sent)
			assert_int_equal(handle(&g), a);
		else
			assert_int_equal(stats(&g).queued, 1);
	}
}

static void test_A6_ready_that_waits_at_EL1_goes_out_at_EL0(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	uint32_t a = inject(&g, 7);

	apf_vcpu_page_done(g.v, 7);
	assert_int_equal(enter_kernel(), APF_OUT_LATER);
	assert_int_equal(apf_vcpu_poll(g.v), APF_OUT_KICK);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), a);
}

static void test_C9_C13_ready_that_cannot_be_injected_leaves_the_area_free(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	uint32_t a = inject(&g, 7);

	apf_vcpu_page_done(g.v, 7);
	fake_forget(&g);
	g.inject_result = -EAGAIN;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	assert_string_equal(g.log, "YPn");
	g.inject_result = 0;
	g.memory.read_only = true;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	g.memory.read_only = false;
	g.memory.unreachable = true;
	assert_int_equal(enter(&g), APF_OUT_LATER);
	g.memory.unreachable = false;
	assert_int_equal(g.injects, 0);
	assert_int_equal(enter(&g), 0);
	assert_int_equal(handle(&g), a);
}

static void test_N10_a_lost_page_sends_its_own_tokens_in_both_revisions(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON);
	uint32_t a = inject(&g, 7);

	assert_int_equal(apf_vcpu_page_failed(g.v, 7), APF_OUT_KICK);
	enter(&g);
	assert_int_equal(handle(&g), a);

	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	a = inject(&g, 7);
	assert_int_equal(apf_vcpu_page_failed(g.v, 7), 0);
	assert_int_equal(g.token, a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_A5_A6_A11_C4_the_gate_of_np),
		cmocka_unit_test(test_A10_regions_have_a_start_and_an_end),
		cmocka_unit_test(test_A6_a_cleared_region_holds_nothing_off),
		cmocka_unit_test(test_C9_np_halts_while_the_area_is_out_of_reach),
		cmocka_unit_test(test_C13_np_and_its_reason_are_undone_together),
		cmocka_unit_test(test_A8_nothing_halts_while_a_notification_is_not_consumed),
		cmocka_unit_test(test_A8_the_area_of_a_guest_without_apf_is_not_looked_at),
		cmocka_unit_test(test_A5_A8_ready_is_reason_2_and_an_abort_at_the_entry),
		cmocka_unit_test(
			test_A5_the_next_ready_waits_until_the_last_is_consumed_and_nobody_tells),
		cmocka_unit_test(test_A6_A11_the_gate_of_ready),
		cmocka_unit_test(test_A6_ready_that_waits_at_EL1_goes_out_at_EL0),
		cmocka_unit_test(test_C9_C13_ready_that_cannot_be_injected_leaves_the_area_free),
		cmocka_unit_test(test_N10_a_lost_page_sends_its_own_tokens_in_both_revisions),
	};

	return cmocka_run_group_tests_name("engine/arm64-abort", tests, NULL, NULL);
}
