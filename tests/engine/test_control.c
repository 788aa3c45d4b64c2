/* SPDX-License-Identifier: MIT */
/* The control registers, set-up and reset. */
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "fake.h"
#include "invariants.h"

static struct fake g;

static uint64_t read_reg(uint32_t reg)
{
	uint64_t value = ~0ull;

	assert_int_equal(apf_vcpu_control_read(g.v, reg, &value), 0);
	return value;
}

static void test_N1_N2_N5_N7_which_values_are_accepted(void **state)
{
	static const struct {
		uint32_t reg;
		uint64_t value;
		bool no_lapic;
		int ret;
	} t[] = {
		{ APF_MSR_EN, 0, 0, 0 },
		{ APF_MSR_EN, EN_ON, 0, 0 },
		{ APF_MSR_EN, EN_ON | APF_EN_SEND_ALWAYS, 0, 0 },
		{ APF_MSR_EN, AREA | APF_EN_ENABLED, 0, 0 },
		{ APF_MSR_EN, EN_ON | APF_EN_VMEXIT, 0, -EINVAL },	/* bit 10 is not offered */
		{ APF_MSR_EN, APF_EN_VMEXIT, 0, -EINVAL },
		{ APF_MSR_EN, EN_ON | 1 << 4, 0, -EINVAL },
		{ APF_MSR_EN, EN_ON | 1 << 5, 0, -EINVAL },
		{ APF_MSR_EN, 1 << 4, 0, -EINVAL },
		{ APF_MSR_EN, 1 << 5, 0, -EINVAL },
		{ APF_MSR_EN, (RAM_BYTES - 64) | 9, 0, 0 },
		{ APF_MSR_EN, RAM_BYTES | 9, 0, -EINVAL },
		{ APF_MSR_EN, ~0x3full | 9, 0, -EINVAL },
		{ APF_MSR_EN, EN_ON, 1, -EINVAL },
		{ APF_MSR_EN, AREA, 1, -EINVAL },
		{ APF_MSR_EN, 0, 1, 0 },
		{ APF_MSR_INT, 0, 0, 0 },
		{ APF_MSR_INT, 15, 0, 0 },
		{ APF_MSR_INT, 255, 0, 0 },
		{ APF_MSR_INT, 256, 0, -EINVAL },
		{ APF_MSR_INT, 1ull << 63 | VECTOR, 0, -EINVAL },
		{ APF_MSR_INT, VECTOR, 1, -EINVAL },
		{ APF_MSR_ACK, 0, 0, 0 },
		{ APF_MSR_ACK, ~0ull, 0, 0 },
		{ 0x4b564d05, 0, 0, -EINVAL },
		{ 0, 0, 0, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, CONFIG(.has_lapic = !t[i].no_lapic));
		g.memory.unreachable = true;	/* whatever address it is given */
		int ret = apf_vcpu_control_write(g.v, t[i].reg, t[i].value, NULL);

		if (ret != t[i].ret)
			fail_msg("%x = %llx: %d", t[i].reg, (unsigned long long)t[i].value, ret);
		if (ret)
			assert_int_equal(read_reg(APF_MSR_EN) | read_reg(APF_MSR_INT), 0);
		else if (t[i].reg != APF_MSR_ACK)
			assert_int_equal(read_reg(t[i].reg), t[i].value);
	}
}

static void test_N7_refused_value_changes_nothing(void **state)
{
	static const uint64_t bad[] = { RAM_BYTES | 9, EN_ON | 1 << 4, APF_EN_VMEXIT };
	unsigned int out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_on(&g, CONFIG());
		uint32_t a = inject(&g, 1);

		assert_int_equal(apf_vcpu_control_write(g.v, APF_MSR_EN, bad[i], &out), -EINVAL);
		assert_int_equal(out, 0);
		assert_int_equal(read_reg(APF_MSR_EN), EN_ON);
		assert_int_equal(g.raises, 0);
		apf_vcpu_page_done(g.v, 1);
		assert_int_equal(g.token, a);
	}
}

static void test_N1_N4_N7_registers_read_back(void **state)
{
	uint64_t value;

	fake_on(&g, CONFIG());
	assert_int_equal(read_reg(APF_MSR_EN), EN_ON);
	assert_int_equal(read_reg(APF_MSR_INT), VECTOR);
	assert_int_equal(read_reg(APF_MSR_ACK), 0);
	assert_int_equal(apf_vcpu_control_read(g.v, 0x4b564d05, &value), -EINVAL);
	assert_int_equal(apf_vcpu_area(g.v), AREA);
}

static void test_C6_N7_enabling_sends_one_wake_all_each_time(void **state)
{
	fake_init(&g, CONFIG());
	write_reg(&g, APF_MSR_INT, VECTOR);
	assert_false(apf_vcpu_enabled(g.v));
	assert_int_equal(write_reg(&g, APF_MSR_EN, EN_ON), 0);
	assert_true(apf_vcpu_enabled(g.v));
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	assert_string_equal(g.log, "TR");
	ack(&g);
	assert_int_equal(g.raises, 1);
	write_reg(&g, APF_MSR_EN, EN_ON);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	assert_int_equal(g.raises, 2);
	assert_int_equal(stats(&g).broadcasts, 2);
}

static void test_N6_enabling_before_the_apic_is_on(void **state)
{
	fake_init(&g, CONFIG());
	write_reg(&g, APF_MSR_INT, VECTOR);
	g.raise_result = 0;
	assert_int_equal(write_reg(&g, APF_MSR_EN, EN_ON), APF_OUT_LATER);
	assert_int_equal(g.token, 0);
	assert_int_equal(take(&g, user_fault(1)).why, APF_WHY_AREA);	/* nothing before it */
	g.raise_result = 1;
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
}

static void test_N2_without_the_interrupt_bit_nothing_is_sent(void **state)
{
	fake_init(&g, CONFIG());
	write_reg(&g, APF_MSR_INT, VECTOR);
	write_reg(&g, APF_MSR_EN, EN_ON & ~APF_EN_INT);
	assert_false(apf_vcpu_enabled(g.v));
	assert_string_equal(g.log, "");
}

static void test_policy_never_async_answers_controls_as_ever(void **state)
{
	fake_on(&g, CONFIG(.policy.never_async = true));
	assert_true(apf_vcpu_enabled(g.v));
	assert_int_equal(stats(&g).broadcasts, 1);
	assert_int_equal(take(&g, user_fault(1)).verdict, APF_HALT);
}

static void test_C10_N7_disabling_drops_everything(void **state)
{
	static const uint64_t off[] = { 0, AREA | APF_EN_ENABLED, AREA | APF_EN_INT };

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		fake_on(&g, CONFIG());
		uint32_t a = inject(&g, 1);

		inject(&g, 2);
		inject(&g, 3);
		apf_vcpu_page_done(g.v, 1);
		apf_vcpu_page_done(g.v, 2);
		apf_vcpu_broadcast(g.v);
		assert_int_equal(g.token, a);
		assert_int_equal(write_reg(&g, APF_MSR_EN, off[i]), 0);
		assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
		assert_int_equal(apf_vcpu_page_done(g.v, 3), 0);
		assert_int_equal(ack(&g), 0);
		assert_int_equal(g.raises, 1);
	}
}

static void test_C10_disabling_takes_back_a_token_not_consumed(void **state)
{
	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1);

	apf_vcpu_page_done(g.v, 1);
	assert_int_equal(g.token, a);
	write_reg(&g, APF_MSR_EN, 0);
	assert_int_equal(g.token, 0);
	write_reg(&g, APF_MSR_EN, EN_ON);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
}

static void test_C10_reset_clears_registers_and_set_but_not_guest_memory(void **state)
{
	struct apf_fault f = user_fault(9);

	fake_on(&g, CONFIG());
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	apf_vcpu_page_done(g.v, 1);
	apf_vcpu_broadcast(g.v);
	f.irqs_on = false;
	take(&g, f);
	memset(g.log, 0, sizeof(g.log));
	apf_vcpu_reset(g.v);
	assert_null(broken_invariant(g.v));
	assert_int_equal(read_reg(APF_MSR_EN) | read_reg(APF_MSR_INT), 0);
	assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
	assert_int_equal(apf_vcpu_page_done(g.v, 9), 0);
	assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
	assert_string_equal(g.log, "");
	assert_int_equal(g.token, a);
	g.token = 0;
	write_reg(&g, APF_MSR_EN, EN_ON);
	ack(&g);
	assert_true(inject(&g, 1) > b);	/* C8: not one that the old guest may remember */
}

static void test_init_refuses_what_it_cannot_do(void **state)
{
	static const struct {
		struct apf_vcpu_config cfg;
		size_t offset, size;
		int ret;
	} t[] = {
		{ { 0, 0, 8, 1, { 0 }, 0 }, 0, 4096, -EINVAL },
		{ { 99, 0, 8, 1, { 0 }, 0 }, 0, 4096, -EINVAL },
		{ { APF_ABI_X86_INT, 4096, 8, 1, { 0 }, 0 }, 0, 4096, -EINVAL },	/* L3 */
		{ { APF_ABI_X86_INT, 4095, 8, 1, { 0 }, 0 }, 0, 4096, 0 },
		{ { APF_ABI_X86_INT, 0, 0, 1, { 0 }, 0 }, 0, 4096, -EINVAL },
		{ { APF_ABI_X86_INT, 0, (1 << 20) + 1, 1, { 0 }, 0 }, 0, 4096, -EINVAL },
		{ { APF_ABI_X86_INT, 0, 8, 1, { 0 }, 0 }, 8, 4096, -EINVAL },
		{ { APF_ABI_X86_INT, 0, 8, 1, { 0 }, 0 }, 0, 64, -ENOSPC },
	};
	struct apf_engine_ops ops = { 0 };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int ret = apf_vcpu_init(g.mem + t[i].offset, t[i].size, &t[i].cfg, &ops, NULL,
					&g.v);

		assert_int_equal(ret, t[i].ret);
		if (ret)
			assert_string_not_equal(apf_error(), "");
	}
	assert_int_equal(apf_vcpu_size(0), 0);
	assert_int_equal(apf_vcpu_size((1 << 20) + 1), 0);
	assert_true(apf_vcpu_size(1 << 20) > 1 << 20);
	assert_int_equal(apf_vcpu_size(1) % 64, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_N1_N2_N5_N7_which_values_are_accepted),
		cmocka_unit_test(test_N7_refused_value_changes_nothing),
		cmocka_unit_test(test_N1_N4_N7_registers_read_back),
		cmocka_unit_test(test_C6_N7_enabling_sends_one_wake_all_each_time),
		cmocka_unit_test(test_N6_enabling_before_the_apic_is_on),
		cmocka_unit_test(test_N2_without_the_interrupt_bit_nothing_is_sent),
		cmocka_unit_test(test_policy_never_async_answers_controls_as_ever),
		cmocka_unit_test(test_C10_N7_disabling_drops_everything),
		cmocka_unit_test(test_C10_disabling_takes_back_a_token_not_consumed),
		cmocka_unit_test(test_C10_reset_clears_registers_and_set_but_not_guest_memory),
		cmocka_unit_test(test_init_refuses_what_it_cannot_do),
	};

	return cmocka_run_group_tests_name("engine/control", tests, NULL, NULL);
}
