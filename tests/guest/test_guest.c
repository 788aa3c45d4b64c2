/* SPDX-License-Identifier: MIT */
/* libapf-guest, row by row, against a fake kernel and a host that may misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fake_kernel.h"

#define TOKEN		0x5001u
#define BROADCAST	APF_TOKEN_BROADCAST

static const enum apf_guest_abi all_abis[] = {
	APF_GUEST_X86_2010, APF_GUEST_X86_RFC, APF_GUEST_X86_INT,
};

#define for_each_abi(abi)                                                                         \
	for (enum apf_guest_abi abi = APF_GUEST_X86_2010; abi <= APF_GUEST_X86_INT; abi++)

static struct fake_kernel kernel;

static void assert_event(const struct fake_kernel *k, enum apf_guest_event ev, uint32_t times)
{
	assert_int_equal(fake_count(k, FAKE_EVENT, ev), times);
}

/* The waiter is on the stack of the task, which has it back when this returns. */
static enum apf_guest_pf page_fault(const struct apf_guest_x86_trap *trap)
{
	struct apf_guest_waiter w;

	return apf_guest_x86_page_fault(&kernel.guest, trap, &w);
}

/* --- discovery and enabling --- */

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

static void test_L1_I1_I2_N1_N9_enabling_writes_the_right_bits_vector_first(void **state)
{
	static const struct {
		enum apf_guest_abi abi;
		bool send_always;
		uint64_t vector, en;	/* vector 0: not written */
	} cases[] = {
		{ APF_GUEST_X86_2010, false, 0, 1 },
		{ APF_GUEST_X86_2010, true, 0, 3 },
		{ APF_GUEST_X86_RFC, false, 0x1f3, 9 },
		{ APF_GUEST_X86_RFC, true, 0x1f3, 11 },
		{ APF_GUEST_X86_INT, false, 0xf3, 9 },
		{ APF_GUEST_X86_INT, true, 0xf3, 11 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t at = 0;

		fake_boot(&kernel);
		kernel.guest.abi = cases[i].abi;
		kernel.guest.send_always = cases[i].send_always;
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		fake_cpu(&kernel)->area.token = TOKEN;
		assert_int_equal(apf_guest_x86_enable(&kernel.guest), 0);
		if (cases[i].vector) {
			assert_int_equal(kernel.log[at].a, APF_MSR_INT);
			assert_int_equal(kernel.log[at++].b, cases[i].vector);
		}
		assert_int_equal(kernel.log[at].a, APF_MSR_EN);
		assert_int_equal(kernel.log[at].b, fake_cpu(&kernel)->phys | cases[i].en);
		assert_int_equal(kernel.log[at].reason, 0);
		assert_int_equal(kernel.log[at].token, 0);
		assert_int_equal(kernel.logged, at + 1);
		assert_int_equal((uintptr_t)&fake_cpu(&kernel)->area % 64, 0);
		assert_int_equal(fake_cpu(&kernel)->phys % 64, 0);
	}
}

static void test_L1_I2_N7_a_refused_control_write_leaves_apf_off(void **state)
{
	static const uint32_t refused[] = { APF_MSR_EN, APF_MSR_INT };

	for_each_abi(abi) {
		for (int i = 0; i < 2; i++) {
			struct apf_guest_notice n;

			if (abi == APF_GUEST_X86_2010 && refused[i] == APF_MSR_INT)
				continue;
			fake_boot(&kernel);
			kernel.guest.abi = abi;
			kernel.refused_msr = refused[i];
			assert_int_equal(apf_guest_x86_enable(&kernel.guest), -APF_GUEST_EIO);
			assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_ORDINARY);
		}
	}
	fake_boot(&kernel);
	assert_int_equal(apf_guest_x86_enable(&kernel.guest), -APF_GUEST_EINVAL);
}

/* --- what is ours and what is not --- */

static void test_L8_I7_N9_reason_0_is_an_ordinary_fault(void **state)
{
	static const struct apf_guest_x86_trap traps[] = {
		{ .cr2 = TOKEN, .user = true, .irqs_on = true },
		{ .cr2 = 0xffff800000001000, .error_code = 2, .irqs_on = false },
		{ .cr2 = 0, .error_code = 4, .user = true, .irqs_on = true },
	};

	for_each_abi(abi) {
		fake_start(&kernel, abi, true);
		for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++)
			assert_int_equal(page_fault(&traps[i]), APF_GUEST_PF_ORDINARY);
		assert_int_equal(kernel.logged, 0);
	}
}

static void test_L8_N9_an_np_clears_the_reason_before_its_task_sleeps(void **state)
{
	for_each_abi(abi) {
		const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .user = true,
							 .irqs_on = true };

		fake_start(&kernel, abi, false);
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		assert_int_equal(page_fault(&trap), APF_GUEST_PF_RETRY);
		for (uint32_t i = 0; i <= fake_find(&kernel, FAKE_SLEEP, TOKEN); i++)
			assert_int_equal(kernel.log[i].reason, 0);
		assert_int_equal(fake_count(&kernel, FAKE_SLEEP, TOKEN), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_L8_a_notification_while_interrupts_were_off_is_broken(void **state)
{
	for_each_abi(abi) {
		for (uint32_t reason = APF_REASON_NP; reason <= 3; reason++) {
			const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .user = true };

			if (abi == APF_GUEST_X86_RFC && reason == APF_REASON_READY)
				continue;
			fake_start(&kernel, abi, true);
			fake_cpu(&kernel)->area.reason = reason;
			assert_int_equal(page_fault(&trap), APF_GUEST_PF_BROKEN);
			assert_int_equal(kernel.logged, 0);
		}
	}
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

static void test_N3_in_INT_the_words_do_not_mix(void **state)
{
	struct apf_guest_waiter w, w2;

	/* Given a ready whose interrupt has not been taken, when an NP comes, then both are served. */
	fake_start(&kernel, APF_GUEST_X86_INT, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_cpu(&kernel)->area.token = TOKEN;
	assert_int_equal(fake_np_waits(&kernel, 0x6001, &w2), APF_GUEST_PF_WAIT);
	assert_int_equal(fake_cpu(&kernel)->area.token, TOKEN);
	apf_guest_x86_ready(&kernel.guest);
	assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	assert_non_null(w2.link);
}

static void test_N2_in_INT_a_page_fault_with_reason_2_wakes_nobody(void **state)
{
	const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .user = true, .irqs_on = true };
	struct apf_guest_waiter w;

	fake_start(&kernel, APF_GUEST_X86_INT, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_cpu(&kernel)->area.reason = APF_REASON_READY;
	assert_int_equal(page_fault(&trap), APF_GUEST_PF_RETRY);
	assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
	assert_non_null(w.link);
	assert_event(&kernel, APF_GUEST_EV_REJECTED, 1);
}

/* --- ready --- */

static void test_N9_ready_is_eoi_then_wake_then_token_0_then_ack(void **state)
{
	struct apf_guest_waiter w;
	uint32_t eoi, wake, ack;

	fake_start(&kernel, APF_GUEST_X86_INT, false);
	assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
	fake_ready(&kernel, TOKEN);
	eoi = fake_find(&kernel, FAKE_EOI, 0);
	wake = fake_find(&kernel, FAKE_WAKE, TOKEN);
	ack = fake_find(&kernel, FAKE_WRMSR, APF_MSR_ACK);
	assert_true(eoi < wake && wake < ack && ack < FAKE_LOG);
	assert_int_equal(kernel.log[wake].token, TOKEN);
	assert_int_equal(kernel.log[ack].token, 0);
	assert_int_equal(kernel.log[ack].b, APF_ACK_LOOK);
	assert_int_equal(fake_count(&kernel, FAKE_WRMSR, APF_MSR_ACK), 1);
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
		uint32_t off, on, token = 0x9001;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np_waits(&kernel, 0x8001, &asleep), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np(&kernel, token, &in_hand), APF_GUEST_PF_WAIT);
		for (uint32_t i = 0; i < APF_GUEST_EARLY; i++)
			fake_ready(&kernel, (i + 1) << 12);
		kernel.logged = 0;
		fake_ready(&kernel, token);
		assert_event(&kernel, APF_GUEST_EV_RESTART, 1);
		off = fake_find(&kernel, FAKE_WRMSR, APF_MSR_EN);
		assert_true(off < FAKE_LOG);
		assert_int_equal(kernel.log[off].b, 0);
		on = fake_count(&kernel, FAKE_WRMSR, APF_MSR_EN);
		assert_int_equal(on, 2);
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
		apf_guest_x86_disable(&kernel.guest);
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
	const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .irqs_on = true };

	for_each_abi(abi) {
		fake_start(&kernel, abi, true);
		kernel.no_sleep = true;
		kernel.on_halt = ready_at_third_halt;
		fake_cpu(&kernel)->area.reason = APF_REASON_NP;
		assert_int_equal(page_fault(&trap), APF_GUEST_PF_RETRY);
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
		apf_guest_x86_disable(&kernel.guest);
		assert_int_equal(kernel.log[0].act, FAKE_WRMSR);
		assert_int_equal(kernel.log[0].a, APF_MSR_EN);
		assert_int_equal(kernel.log[0].b, 0);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x1000), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x2000), 1);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, 0x1001), 0);
		/* What was under way then finds nothing to do. */
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w[0]), APF_GUEST_PF_RETRY);
		fake_ready(&kernel, 0x2000);
		assert_event(&kernel, APF_GUEST_EV_READY, 0);
		apf_guest_x86_disable(&kernel.guest);
		assert_int_equal(fake_count(&kernel, FAKE_WRMSR, APF_MSR_EN), 1);
	}
}

static void test_C10_enabling_again_after_a_reset_wakes_and_starts_anew(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w;

		fake_start(&kernel, abi, false);
		fake_ready(&kernel, 0x6001);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		assert_int_equal(apf_guest_x86_enable(&kernel.guest), 0);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
		assert_int_equal(fake_np_waits(&kernel, 0x6001, &w), APF_GUEST_PF_WAIT);
	}
}

/* --- a host that misbehaves --- */

static void test_C8_what_is_no_token_is_never_slept_on(void **state)
{
	static const struct apf_guest_x86_trap traps[] = {
		{ .cr2 = 0, .user = true, .irqs_on = true },
		{ .cr2 = BROADCAST, .user = true, .irqs_on = true },
		{ .cr2 = 0x100005001, .user = true, .irqs_on = true },
		{ .cr2 = UINT64_MAX, .user = true, .irqs_on = true },
		{ .cr2 = TOKEN, .error_code = 4, .user = true, .irqs_on = true },
		{ .cr2 = TOKEN, .error_code = 1, .user = true, .irqs_on = true },
		{ .cr2 = TOKEN, .user = false, .irqs_on = true },
	};

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(page_fault(&traps[i]), APF_GUEST_PF_RETRY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
		}
		assert_event(&kernel, APF_GUEST_EV_REJECTED, sizeof(traps) / sizeof(traps[0]));
		assert_event(&kernel, APF_GUEST_EV_NP, 0);
	}
}

static void test_L4_kernel_mode_nps_are_taken_only_with_send_always(void **state)
{
	const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .irqs_on = true };

	for_each_abi(abi) {
		for (int always = 0; always < 2; always++) {
			struct apf_guest_notice n;

			fake_start(&kernel, abi, always);
			fake_cpu(&kernel)->area.reason = APF_REASON_NP;
			assert_int_equal(apf_guest_x86_notice(&kernel.guest, &trap, &n),
					 always ? APF_GUEST_PF_WAIT : APF_GUEST_PF_RETRY);
		}
	}
}

static void test_C8_a_token_that_is_waited_for_already_is_not_slept_on_twice(void **state)
{
	for_each_abi(abi) {
		struct apf_guest_waiter w, again;

		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
		assert_int_equal(fake_np_waits(&kernel, TOKEN, &again), APF_GUEST_PF_RETRY);
		fake_ready(&kernel, TOKEN);
		assert_int_equal(fake_count(&kernel, FAKE_WAKE, TOKEN), 1);
	}
}

static void test_C9_a_notice_of_another_cpu_is_not_slept_on(void **state)
{
	struct apf_guest_notice n;
	struct apf_guest_waiter w;

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		assert_int_equal(fake_np(&kernel, TOKEN, &n), APF_GUEST_PF_WAIT);
		kernel.cpu = 1;
		assert_int_equal(apf_guest_wait(&kernel.guest, &n, &w), APF_GUEST_PF_RETRY);
	}
}

static void test_N4_spurious_ready_interrupts_do_nothing_but_eoi(void **state)
{
	static const uint32_t reasons[] = { 0, APF_REASON_NP, 7 };
	struct apf_guest_waiter w;

	for (size_t i = 0; i < sizeof(all_abis) / sizeof(all_abis[0]); i++) {
		for (size_t r = 0; r < 3; r++) {
			fake_start(&kernel, all_abis[i], false);
			assert_int_equal(fake_np_waits(&kernel, TOKEN, &w), APF_GUEST_PF_WAIT);
			kernel.logged = 0;
			fake_cpu(&kernel)->area.reason = reasons[r];
			apf_guest_x86_ready(&kernel.guest);
			assert_int_equal(kernel.logged, 1);
			assert_int_equal(kernel.log[0].act, FAKE_EOI);
			assert_non_null(w.link);
		}
	}
}

static void test_C8_token_0_as_ready_is_ignored_and_the_word_is_freed(void **state)
{
	fake_start(&kernel, APF_GUEST_X86_RFC, false);
	fake_ready(&kernel, 0);
	assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
	assert_event(&kernel, APF_GUEST_EV_READY, 0);
	assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
	fake_start(&kernel, APF_GUEST_X86_2010, false);
	fake_ready(&kernel, 0);
	assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
	assert_event(&kernel, APF_GUEST_EV_READY, 0);
}

static void test_I4_an_unknown_reason_is_cleared_and_the_access_repeated(void **state)
{
	static const uint32_t reasons[] = { 3, 4, 0x80000001, UINT32_MAX };
	const struct apf_guest_x86_trap trap = { .cr2 = TOKEN, .user = true, .irqs_on = true };

	for_each_abi(abi) {
		for (size_t i = 0; i < 4; i++) {
			fake_start(&kernel, abi, false);
			fake_cpu(&kernel)->area.reason = reasons[i];
			assert_int_equal(page_fault(&trap), APF_GUEST_PF_RETRY);
			assert_int_equal(fake_cpu(&kernel)->area.reason, 0);
			assert_event(&kernel, APF_GUEST_EV_REJECTED, 1);
		}
	}
}

/* --- tracepoints and state --- */

static void test_V1_every_change_of_state_is_one_event(void **state)
{
	static const enum apf_guest_event expected[] = {
		APF_GUEST_EV_NP, APF_GUEST_EV_SLEPT, APF_GUEST_EV_READY, APF_GUEST_EV_WOKEN,
		APF_GUEST_EV_READY, APF_GUEST_EV_EARLY, APF_GUEST_EV_NP, APF_GUEST_EV_EARLY_NP,
		APF_GUEST_EV_BROADCAST,
	};

	for_each_abi(abi) {
		struct apf_guest_waiter w;
		uint32_t seen = 0;

		fake_start(&kernel, abi, false);
		fake_np_waits(&kernel, TOKEN, &w);
		fake_ready(&kernel, TOKEN);
		fake_ready(&kernel, 0x6001);
		fake_np_waits(&kernel, 0x6001, &w);
		fake_ready(&kernel, BROADCAST);
		for (uint32_t i = 0; i < kernel.logged; i++)
			if (kernel.log[i].act == FAKE_EVENT)
				assert_int_equal(kernel.log[i].a, expected[seen++]);
		assert_int_equal(seen, sizeof(expected) / sizeof(expected[0]));
		assert_int_equal(kernel.log[0].b, TOKEN);
	}
}

static void test_state_can_be_copied_away_and_back(void **state)
{
	static struct fake_kernel copy;
	struct apf_guest_waiter w[3], saved[3];

	for_each_abi(abi) {
		fake_start(&kernel, abi, false);
		for (uint32_t i = 0; i < 3; i++)
			fake_np_waits(&kernel, (i + 1) << 12, &w[i]);
		memcpy(&copy, &kernel, sizeof(kernel));
		memcpy(saved, w, sizeof(w));
		for (uint32_t turn = 0; turn < 2; turn++) {
			for (uint32_t i = 0; i < 3; i++)
				fake_ready(&kernel, (i + 1) << 12);
			assert_event(&kernel, APF_GUEST_EV_WOKEN, 3);
			assert_event(&kernel, APF_GUEST_EV_EARLY, 0);
			memcpy(&kernel, &copy, sizeof(kernel));
			memcpy(w, saved, sizeof(w));
		}
	}
}

static void test_init_refuses_no_cpus_and_no_memory(void **state)
{
	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(apf_guest_init(&kernel.guest, &fake_ops, &kernel, 0), -APF_GUEST_EINVAL);
	for (size_t left = 0; left < 2 * sizeof(struct apf_guest_cpu); left += 64) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.used = FAKE_MEMORY - left;
		assert_int_equal(apf_guest_init(&kernel.guest, &fake_ops, &kernel, FAKE_CPUS),
				 -APF_GUEST_ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_I8_N5_detection_finds_the_generation_from_cpuid_and_the_bit_3_probe),
		cmocka_unit_test(test_L1_I1_I2_N1_N9_enabling_writes_the_right_bits_vector_first),
		cmocka_unit_test(test_L1_I2_N7_a_refused_control_write_leaves_apf_off),
		cmocka_unit_test(test_L8_I7_N9_reason_0_is_an_ordinary_fault),
		cmocka_unit_test(test_L8_N9_an_np_clears_the_reason_before_its_task_sleeps),
		cmocka_unit_test(test_L8_a_notification_while_interrupts_were_off_is_broken),
		cmocka_unit_test(test_I7_reason_2_in_a_page_fault_is_ordinary_and_the_area_is_left_alone),
		cmocka_unit_test(test_I7_the_ready_interrupt_leaves_an_np_reason_alone),
		cmocka_unit_test(test_N3_in_INT_the_words_do_not_mix),
		cmocka_unit_test(test_N2_in_INT_a_page_fault_with_reason_2_wakes_nobody),
		cmocka_unit_test(test_N9_ready_is_eoi_then_wake_then_token_0_then_ack),
		cmocka_unit_test(test_I7_ready_is_eoi_then_wake_then_reason_0),
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
		cmocka_unit_test(test_C8_what_is_no_token_is_never_slept_on),
		cmocka_unit_test(test_L4_kernel_mode_nps_are_taken_only_with_send_always),
		cmocka_unit_test(test_C8_a_token_that_is_waited_for_already_is_not_slept_on_twice),
		cmocka_unit_test(test_C9_a_notice_of_another_cpu_is_not_slept_on),
		cmocka_unit_test(test_N4_spurious_ready_interrupts_do_nothing_but_eoi),
		cmocka_unit_test(test_C8_token_0_as_ready_is_ignored_and_the_word_is_freed),
		cmocka_unit_test(test_I4_an_unknown_reason_is_cleared_and_the_access_repeated),
		cmocka_unit_test(test_V1_every_change_of_state_is_one_event),
		cmocka_unit_test(test_state_can_be_copied_away_and_back),
		cmocka_unit_test(test_init_refuses_no_cpus_and_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
