/* SPDX-License-Identifier: MIT */
/* libapf-guest's two arm64 revisions: discovery, enabling, and what an abort must look like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_kernel.h"

#define OP(number)	((uint64_t)(number) << APF_ARM64_OP_SHIFT)
#define ENABLE		OP(APF_ARM64_OP_ENABLE)
#define REGION		OP(APF_ARM64_OP_REGION)
#define PC		0xffff800008001000ull

static struct fake_kernel kernel;

static enum apf_guest_pf take_abort(uint64_t esr, uint64_t pc)
{
	const struct apf_guest_arm64_trap trap = { .far = TOKEN, .esr = esr, .pc = pc,
						   .irqs_on = true };
	struct apf_guest_waiter w;

	return apf_guest_arm64_abort(&kernel.guest, &trap, &w);
}

static void test_A1_A13_detection_finds_the_newest_revision_that_is_offered(void **state)
{
	const uint64_t both = APF_ARM64_OFFERS_ABORT | APF_ARM64_OFFERS_INT;
	const uint64_t bit = 1, no = (uint32_t)APF_ARM64_NOT_SUPPORTED;
	const struct {
		uint64_t features[4], info[4];
		enum apf_guest_abi abi;
	} cases[] = {
		{ { 1, 0, 0, bit }, { 0, 0x10000, both, 22 }, APF_GUEST_ARM64_INT },
		{ { 1, 0, 0, bit }, { 0, 0x1ffff, both, 31 }, APF_GUEST_ARM64_INT },
		{ { 1, 0, 0, bit }, { 0, 0x10000, APF_ARM64_OFFERS_INT, 16 }, APF_GUEST_ARM64_INT },
		{ { 1, 0, 0, bit }, { 0, 0x10000, APF_ARM64_OFFERS_ABORT, 22 },
		  APF_GUEST_ARM64_ABORT },
		/* Without an interrupt of its own, the second revision is not usable. */
		{ { 1, 0, 0, bit }, { 0, 0x10000, both, 0 }, APF_GUEST_ARM64_ABORT },
		{ { 1, 0, 0, bit }, { 0, 0x10000, both, 32 }, APF_GUEST_ARM64_ABORT },
		{ { 1, 0, 0, bit }, { 0, 0x10000, APF_ARM64_OFFERS_INT, 15 }, APF_GUEST_OFF },
		{ { 1, 0, 0, bit }, { 0, 0x20000, both, 22 }, APF_GUEST_OFF },
		{ { 1, 0, 0, bit }, { 0, 0x10000, 0, 22 }, APF_GUEST_OFF },
		{ { 1, 0, 0, bit }, { no, 0x10000, both, 22 }, APF_GUEST_OFF },
		{ { 1, bit, bit, 0 }, { 0, 0x10000, both, 22 }, APF_GUEST_OFF },
		{ { 1, 0, 0, 2 }, { 0, 0x10000, both, 22 }, APF_GUEST_OFF },
		/* A hypervisor that does not know the call may leave what it likes in x3. */
		{ { no, 0, 0, bit }, { 0, 0x10000, both, 22 }, APF_GUEST_OFF },
		{ { UINT64_MAX, 0, 0, bit }, { 0, 0x10000, both, 22 }, APF_GUEST_OFF },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_boot(&kernel);
		for (int j = 0; j < 4; j++) {
			kernel.features[j] = cases[i].features[j];
			kernel.info[j] = cases[i].info[j];
		}
		assert_int_equal(apf_guest_arm64_detect(&kernel.guest), cases[i].abi);
		if (cases[i].abi == APF_GUEST_ARM64_INT)
			assert_int_equal(kernel.guest.intid, cases[i].info[3]);
		assert_true(kernel.logged <= 1);
		if (kernel.logged)
			assert_int_equal(kernel.log[0].b, OP(APF_ARM64_OP_INFO));
	}
}

static void test_A2_A11_A16_enabling_says_the_right_flags(void **state)
{
	static const struct {
		enum apf_guest_abi abi;
		bool send_always, busy;
		uint64_t flags;
	} cases[] = {
		{ APF_GUEST_ARM64_ABORT, false, false, 1 },
		{ APF_GUEST_ARM64_ABORT, true, false, 3 },
		{ APF_GUEST_ARM64_ABORT, false, true, 9 },
		{ APF_GUEST_ARM64_INT, false, false, 5 },
		{ APF_GUEST_ARM64_INT, true, true, 15 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fake_entry *last;

		fake_boot(&kernel);
		kernel.guest.abi = cases[i].abi;
		kernel.guest.send_always = cases[i].send_always;
		kernel.guest.keeps_busy = cases[i].busy;
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		fake_cpu(&kernel)->area.token = TOKEN;
		fake_cpu(&kernel)->area_arm64.busy = 1;
		assert_int_equal(apf_guest_arm64_enable(&kernel.guest), 0);
		last = &kernel.log[kernel.logged - 1];
		assert_int_equal(last->b, ENABLE | fake_cpu(&kernel)->phys | cases[i].flags);
		assert_int_equal(last->start, 0);
		assert_int_equal(last->size, 0);
		assert_int_equal(last->reason, 0);
		assert_int_equal(last->token, 0);
		assert_int_equal(fake_cpu(&kernel)->area_arm64.busy, 0);
	}
}

static void test_A10_A3_regions_are_set_while_off_and_anew_each_time(void **state)
{
	const uint64_t start = 0xffff800012345678, size = 0x100000040;

	fake_boot(&kernel);
	kernel.guest.abi = APF_GUEST_ARM64_INT;
	assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, start, size), 0);
	assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, 4, 8), 0);
	for (int turn = 0; turn < 2; turn++) {
		kernel.logged = 0;
		fake_cpu(&kernel)->area.enabled = 0;
		assert_int_equal(apf_guest_arm64_enable(&kernel.guest), 0);
		assert_int_equal(kernel.logged, 5);
		assert_int_equal(kernel.log[0].b, ENABLE);
		assert_int_equal(kernel.log[1].b, REGION | APF_ARM64_REGION_CLEAR);
		assert_int_equal(kernel.log[1].start, 0);
		assert_int_equal(kernel.log[2].b, REGION);
		assert_int_equal(kernel.log[2].start, start);
		assert_int_equal(kernel.log[2].size, size);
		assert_int_equal(kernel.log[3].start, 4);
		assert_int_equal(kernel.log[3].size, 8);
	}
}

static void test_A10_there_are_four_regions_and_none_of_them_is_odd(void **state)
{
	fake_boot(&kernel);
	assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, 8, 0), -APF_GUEST_EINVAL);
	assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, 8, UINT64_MAX - 6),
			 -APF_GUEST_EINVAL);
	for (uint32_t i = 0; i < APF_ARM64_REGIONS; i++)
		assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, i * 8, 8), 0);
	assert_int_equal(apf_guest_arm64_add_region(&kernel.guest, 64, 8), -APF_GUEST_EINVAL);
}

/* Switching off what is off already is refused, too, and does not matter. */
static void test_A3_a_refused_call_leaves_apf_off(void **state)
{
	static const int64_t refusals[] = {
		APF_ARM64_NOT_SUPPORTED, APF_ARM64_NOT_REQUIRED, APF_ARM64_INVALID_PARAMETER,
		(uint32_t)APF_ARM64_NOT_SUPPORTED,
	};

	for_each_arm64_abi(abi) {
		for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
			const uint64_t calls[] = { ENABLE, REGION | APF_ARM64_REGION_CLEAR, REGION,
						   ENABLE | 1 };

			for (size_t c = 0; c < 4; c++) {
				struct apf_guest_notice n;
				bool fatal = calls[c] != ENABLE;

				fake_boot(&kernel);
				kernel.guest.abi = abi;
				apf_guest_arm64_add_region(&kernel.guest, 64, 64);
				kernel.refused_call = calls[c];
				if (calls[c] == (ENABLE | 1))
					kernel.refused_call |= fake_cpu(&kernel)->phys |
						(abi == APF_GUEST_ARM64_INT ? APF_ARM64_INT : 0);
				kernel.refusal = refusals[i];
				assert_int_equal(apf_guest_arm64_enable(&kernel.guest),
						 fatal ? -APF_GUEST_EIO : 0);
				assert_int_equal(fake_np(&kernel, TOKEN, &n),
						 fatal ? APF_GUEST_PF_ORDINARY : APF_GUEST_PF_WAIT);
			}
		}
	}
	fake_boot(&kernel);
	assert_int_equal(apf_guest_arm64_enable(&kernel.guest), -APF_GUEST_EINVAL);
}

static void test_A12_only_the_syndrome_and_the_reason_make_a_notification(void **state)
{
	static const uint64_t others[] = {
		0x92000007,	/* translation fault, from EL0 */
		0x92000010,	/* external abort */
		0x96000010,
		0x92000035,
		0x92000030,	/* of TLB conflicts; and of no fault */
		0x82000034,	/* an instruction abort */
		0x5a000034,	/* HVC with that immediate */
		0,
	};

	for_each_arm64_abi(abi) {
		for (uint32_t reason = 0; reason < 4; reason++) {
			fake_start(&kernel, abi, true);
			fake_cpu(&kernel)->area.reason = reason;
			for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
				assert_int_equal(take_abort(others[i], PC), APF_GUEST_PF_ORDINARY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, reason);
			assert_int_equal(kernel.logged, 0);
		}
		assert_int_equal(take_abort(APF_ARM64_ESR_EL0, PC), APF_GUEST_PF_RETRY);
		fake_cpu(&kernel)->area.reason = 0;
		assert_int_equal(take_abort(APF_ARM64_ESR_EL0, PC), APF_GUEST_PF_ORDINARY);
	}
}

static void test_A5_A6_the_first_revisions_ready_is_taken_at_EL1_too(void **state)
{
	static const uint64_t esr[] = { APF_ARM64_ESR_EL0, APF_ARM64_ESR_EL1 };

	for (int i = 0; i < 2; i++) {
		struct apf_guest_waiter w;

		fake_start(&kernel, APF_GUEST_ARM64_ABORT, false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		fake_cpu(&kernel)->area.reason = APF_REASON_READY;
		assert_int_equal(take_abort(esr[i], PC), APF_GUEST_PF_RETRY);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_L8_the_reason_is_0_before_anything_else_is_done(void **state)
{
	for (uint32_t reason = APF_REASON_NP; reason <= APF_REASON_READY; reason++) {
		struct apf_guest_waiter w;

		fake_start(&kernel, APF_GUEST_ARM64_ABORT, false);
		if (reason == APF_REASON_READY)
			assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		kernel.logged = 0;
		fake_cpu(&kernel)->area.reason = reason;
		assert_int_equal(take_abort(APF_ARM64_ESR_EL0, PC), APF_GUEST_PF_RETRY);
		assert_true(kernel.logged);
		assert_int_equal(kernel.log[0].reason, 0);
	}
}

static void test_A10_an_abort_in_a_no_fault_region_is_broken(void **state)
{
	static const struct {
		uint64_t pc;
		enum apf_guest_pf found;
	} cases[] = {
		{ PC - 4, APF_GUEST_PF_RETRY }, { PC, APF_GUEST_PF_BROKEN },
		{ PC + 60, APF_GUEST_PF_BROKEN }, { PC + 64, APF_GUEST_PF_RETRY },
		{ 4, APF_GUEST_PF_BROKEN }, { 0, APF_GUEST_PF_RETRY },
	};

	for_each_arm64_abi(abi) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			fake_start(&kernel, abi, true);
			apf_guest_arm64_add_region(&kernel.guest, PC, 64);
			apf_guest_arm64_add_region(&kernel.guest, 4, 8);
			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(take_abort(APF_ARM64_ESR_EL1, cases[i].pc),
					 cases[i].found);
		}
	}
}

static void test_A11_the_busy_word_nests_and_an_abort_meanwhile_is_broken(void **state)
{
	for_each_arm64_abi(abi) {
		const uint32_t *busy;

		fake_start(&kernel, abi, true);
		kernel.guest.keeps_busy = true;
		busy = &fake_cpu(&kernel)->area_arm64.busy;
		apf_guest_arm64_busy_begin(&kernel.guest);
		apf_guest_arm64_busy_begin(&kernel.guest);
		apf_guest_arm64_busy_end(&kernel.guest);
		assert_int_not_equal(*busy, 0);
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		assert_int_equal(take_abort(APF_ARM64_ESR_EL1, PC), APF_GUEST_PF_BROKEN);
		apf_guest_arm64_busy_end(&kernel.guest);
		assert_int_equal(*busy, 0);
		assert_int_equal(take_abort(APF_ARM64_ESR_EL1, PC), APF_GUEST_PF_RETRY);
	}
}

/* The ready interrupt may come while the CPU is busy, and find no room for its token. */
static void test_A11_a_restart_leaves_the_busy_word_alone(void **state)
{
	fake_start(&kernel, APF_GUEST_ARM64_INT, false);
	kernel.guest.keeps_busy = true;
	apf_guest_arm64_busy_begin(&kernel.guest);
	for (uint32_t i = 0; i <= APF_GUEST_EARLY; i++)
		fake_ready(&kernel, (i + 1) << 16);
	assert_int_equal(fake_count(&kernel, FAKE_EVENT, APF_GUEST_EV_RESTART), 1);
	assert_int_equal(fake_cpu(&kernel)->area_arm64.busy, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_A1_A13_detection_finds_the_newest_revision_that_is_offered),
		cmocka_unit_test(test_A2_A11_A16_enabling_says_the_right_flags),
		cmocka_unit_test(test_A10_A3_regions_are_set_while_off_and_anew_each_time),
		cmocka_unit_test(test_A10_there_are_four_regions_and_none_of_them_is_odd),
		cmocka_unit_test(test_A3_a_refused_call_leaves_apf_off),
		cmocka_unit_test(test_A12_only_the_syndrome_and_the_reason_make_a_notification),
		cmocka_unit_test(test_A5_A6_the_first_revisions_ready_is_taken_at_EL1_too),
		cmocka_unit_test(test_L8_the_reason_is_0_before_anything_else_is_done),
		cmocka_unit_test(test_A10_an_abort_in_a_no_fault_region_is_broken),
		cmocka_unit_test(test_A11_the_busy_word_nests_and_an_abort_meanwhile_is_broken),
		cmocka_unit_test(test_A11_a_restart_leaves_the_busy_word_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
