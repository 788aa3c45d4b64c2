/* SPDX-License-Identifier: MIT */
/* libapf-guest's three x86 generations: discovery, enabling, and where they differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_kernel.h"

static struct fake_kernel kernel;

static enum apf_guest_pf page_fault(const struct apf_guest_x86_trap *trap)
{
	struct apf_guest_waiter w;

	return apf_guest_x86_page_fault(&kernel.guest, trap, &w);
}

static void test_I8_N5_detection_finds_the_generation_from_cpuid_and_the_bit_3_probe(void **state)
{
	static const struct {
		bool no_hypervisor, refuses_bit_3;
		uint32_t features;
		enum apf_guest_abi abi;
	} cases[] = {
		{ false, false, 0, APF_GUEST_OFF },
		{ true, false, APF_CPUID_ASYNC_PF | APF_CPUID_INT, APF_GUEST_OFF },
		{ false, false, APF_CPUID_INT, APF_GUEST_OFF },
		{ false, true, APF_CPUID_ASYNC_PF, APF_GUEST_X86_2010 },
		{ false, false, APF_CPUID_ASYNC_PF, APF_GUEST_X86_RFC },
		{ false, false, APF_CPUID_ASYNC_PF | APF_CPUID_INT, APF_GUEST_X86_INT },
		{ false, true, APF_CPUID_ASYNC_PF | APF_CPUID_INT, APF_GUEST_X86_INT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_boot(&kernel);
		kernel.no_hypervisor = cases[i].no_hypervisor;
		kernel.cpuid_features = cases[i].features;
		kernel.refused_msr = cases[i].refuses_bit_3 ? APF_MSR_EN : 0;
		kernel.refused_bits = APF_EN_INT;
		assert_int_equal(apf_guest_x86_detect(&kernel.guest), cases[i].abi);
		/* The probe leaves nothing behind and never enables. */
		for (uint32_t j = 0; j < kernel.logged; j++)
			assert_false(kernel.log[j].b & APF_EN_ENABLED);
		if (cases[i].abi == APF_GUEST_X86_RFC)
			assert_int_equal(kernel.log[kernel.logged - 1].b, 0);
	}
}

static void test_L1_I1_I2_N1_N9_enabling_writes_the_right_bits_in_order(void **state)
{
	static const struct {
		enum apf_guest_abi abi;
		bool send_always;
		uint64_t first, en, then;	/* of the vector's register; 0: not written */
	} cases[] = {
		{ APF_GUEST_X86_2010, false, 0, 1, 0 },
		{ APF_GUEST_X86_2010, true, 0, 3, 0 },
		{ APF_GUEST_X86_RFC, false, 0, 9, 0x1f3 },
		{ APF_GUEST_X86_RFC, true, 0, 11, 0x1f3 },
		{ APF_GUEST_X86_INT, false, 0xf3, 9, 0 },
		{ APF_GUEST_X86_INT, true, 0xf3, 11, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t at = 0;

		fake_boot(&kernel);
		kernel.guest.abi = cases[i].abi;
		kernel.guest.send_always = cases[i].send_always;
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		fake_cpu(&kernel)->area.token = TOKEN;
		assert_int_equal(apf_guest_x86_enable(&kernel.guest), 0);
		if (cases[i].first) {
			assert_int_equal(kernel.log[at].a, APF_MSR_INT);
			assert_int_equal(kernel.log[at++].b, cases[i].first);
		}
		assert_int_equal(kernel.log[at].a, APF_MSR_EN);
		assert_int_equal(kernel.log[at].b, fake_cpu(&kernel)->phys | cases[i].en);
		assert_int_equal(kernel.log[at].reason, 0);
		assert_int_equal(kernel.log[at++].token, 0);
		if (cases[i].then) {
			assert_int_equal(kernel.log[at].a, APF_MSR_INT);
			assert_int_equal(kernel.log[at++].b, cases[i].then);
		}
		assert_int_equal(kernel.logged, at);
		assert_int_equal((uintptr_t)&fake_cpu(&kernel)->area % 64, 0);
		assert_int_equal(fake_cpu(&kernel)->phys % 64, 0);
	}
}

static void test_L1_I2_N7_a_refused_control_write_leaves_apf_off(void **state)
{
	static const uint32_t refused[] = { APF_MSR_EN, APF_MSR_INT };

	for_each_x86_abi(abi) {
		for (int i = 0; i < 2; i++) {
			struct apf_guest_notice n;

			if (abi == APF_GUEST_X86_2010 && refused[i] == APF_MSR_INT)
				continue;
			fake_boot(&kernel);
			kernel.guest.abi = abi;
			kernel.refused_msr = refused[i];
			assert_int_equal(apf_guest_x86_enable(&kernel.guest), -APF_GUEST_EIO);
			assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_ORDINARY);
			if (abi != APF_GUEST_X86_RFC || refused[i] == APF_MSR_EN)
				continue;
			assert_int_equal(kernel.log[kernel.logged - 1].a, APF_MSR_EN);
			assert_int_equal(kernel.log[kernel.logged - 1].b, 0);
		}
	}
	fake_boot(&kernel);
	assert_int_equal(apf_guest_x86_enable(&kernel.guest), -APF_GUEST_EINVAL);
}

static void test_I7_reason_2_in_a_page_fault_is_ordinary_and_the_area_is_left_alone(void **state)
{
	const struct apf_guest_x86_trap trap = { .cr2 = 0x7000, .error_code = 4, .user = true };
	struct apf_guest_waiter w;

	fake_start(&kernel, APF_GUEST_X86_RFC, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_cpu(&kernel)->area.reason = APF_REASON_READY;
	fake_cpu(&kernel)->area.token = TOKEN;
	assert_int_equal(page_fault(&trap), APF_GUEST_PF_ORDINARY);
	assert_int_equal(fake_cpu(&kernel)->area.reason, APF_REASON_READY);
	assert_int_equal(fake_cpu(&kernel)->area.token, TOKEN);
	assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 0);
	apf_guest_x86_ready(&kernel.guest);
	assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
}

static void test_I7_the_ready_interrupt_leaves_an_np_reason_alone(void **state)
{
	struct apf_guest_waiter w;

	fake_start(&kernel, APF_GUEST_X86_RFC, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_cpu(&kernel)->area.reason = APF_REASON_NP;
	fake_cpu(&kernel)->area.token = TOKEN;
	apf_guest_x86_ready(&kernel.guest);
	assert_int_equal(fake_cpu(&kernel)->area.reason, APF_REASON_NP);
	assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 0);
}

static void test_I7_ready_is_eoi_then_wake_then_reason_0(void **state)
{
	struct apf_guest_waiter w;

	fake_start(&kernel, APF_GUEST_X86_RFC, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_ready(&kernel, TOKEN);
	assert_true(fake_find(&kernel, FAKE_EOI, 0) < fake_find(&kernel, FAKE_WAKE, TOKEN));
	assert_int_equal(kernel.log[fake_find(&kernel, FAKE_WAKE, TOKEN)].reason, APF_REASON_READY);
	assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
	assert_int_equal(fake_count(&kernel, FAKE_WRMSR, APF_MSR_ACK), 0);
}

static void test_C8_a_notification_has_no_error_code(void **state)
{
	static const uint32_t codes[] = { 1, 2, 4, 0x8000 };

	for_each_x86_abi(abi) {
		fake_start(&kernel, abi, false);
		for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
			const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .error_code = codes[i],
								 .user = true, .irqs_on = true };

			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(page_fault(&trap), APF_GUEST_PF_RETRY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
		}
		assert_int_equal(fake_count(&kernel, FAKE_EVENT, APF_GUEST_EV_REJECTED), 4);
		assert_int_equal(fake_count(&kernel, FAKE_EVENT, APF_GUEST_EV_NP), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_I8_N5_detection_finds_the_generation_from_cpuid_and_the_bit_3_probe),
		cmocka_unit_test(test_L1_I1_I2_N1_N9_enabling_writes_the_right_bits_in_order),
		cmocka_unit_test(test_L1_I2_N7_a_refused_control_write_leaves_apf_off),
		cmocka_unit_test(test_I7_reason_2_in_a_page_fault_is_ordinary_and_the_area_is_left_alone),
		cmocka_unit_test(test_I7_the_ready_interrupt_leaves_an_np_reason_alone),
		cmocka_unit_test(test_I7_ready_is_eoi_then_wake_then_reason_0),
		cmocka_unit_test(test_C8_a_notification_has_no_error_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
