/* SPDX-License-Identifier: MIT */
/* What becomes of a vCPU at a fault: halts, waits, readies that must be tried again. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "fake.h"

#define MS 1000000ull

static const struct step reads_page_5[] = { TOUCH(5), EXIT };

static struct apf_vcpu_stats stats(void)
{
	struct apf_vcpu_stats s;

	apf_kvm_vcpu_stats(fake.v, &s);
	return s;
}

static int init_int(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	return 0;
}

static int init_2010(void **state)
{
	fake_init(APF_ABI_X86_2010, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_2010);
	return 0;
}

static void some_page_comes(struct fake *g)
{
	fake_page_comes(6, 0);
}

static void nothing_is_ready(struct fake *g)
{
	assert_int_equal(g->msis, 0);
}

static void kick(struct fake *g)
{
	apf_kvm_kick(g->v);
}

/* First an interrupt, then the page. */
static void tick_then_page(struct fake *g)
{
	if (!g->interrupts)
		g->interrupt = true;
	else
		fake_pages_come(g);
}

static void test_C1_C2_an_np_lets_the_guest_run_on_and_its_page_sends_one_ready(void **state)
{
	static const struct step steps[] = {
		TOUCH(5), CALL(some_page_comes), CALL(nothing_is_ready), CALL(fake_pages_come),
		TOUCH(5), EXIT,
	};

	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, fake.cr2);
	assert_int_equal(fake.wanted[5], 2);	/* before the decision and after it */
	assert_int_equal(stats().halts + stats().waits, 0);
}

static void test_C3_a_repeated_fault_halts_without_a_second_token(void **state)
{
	fake.one_task = true;
	fake.world = tick_then_page;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(stats().repeats, 2);
	assert_int_equal(fake.interrupts, 2);	/* the tick, the ready */
}

static void test_C4a_a_halt_serves_interrupts_and_then_faults_again(void **state)
{
	fake.sregs.ss.dpl = 0;
	fake.world = tick_then_page;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.interrupts, 1);
	assert_int_equal(stats().halts, 2);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(fake.nps + fake.msis, 0);
}

/* The guest is not entered before the page is there, whatever is pending. */
static void test_C4b_a_wait_serves_nothing(void **state)
{
	unsigned int runs = fake.runs;

	fake.regs.rflags = 2;
	fake.interrupt = true;
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.runs, runs + 2);
	assert_int_equal(fake.interrupts, 0);
	assert_int_equal(stats().waits, 1);
	assert_int_equal(fake.nps + fake.msis, 0);
}

static void test_C4b_a_wait_ends_at_a_kick_and_the_access_faults_again(void **state)
{
	fake.regs.rflags = 2;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(stats().waits, 2);
}

static void test_C5_a_full_queue_of_the_pager_is_asked_until_it_takes_the_page(void **state)
{
	fake.full = 3;
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.full, 0);
	assert_true(fake.wanted[5]);
}

/* The pager may have the page before the engine has noted who waits for it. */
static void test_C2_a_page_that_comes_while_its_np_is_decided_sends_its_ready(void **state)
{
	fake.comes = 5;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake.msis, 1);
}

static void test_C7_a_page_that_comes_while_a_halt_is_decided_ends_it(void **state)
{
	fake.comes = 5;
	fake.sregs.ss.dpl = 0;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.nps + fake.msis, 0);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_RUNNABLE);
}

/* A kick before the entry takes nothing away and adds nothing. */
static void test_C13_an_np_whose_entry_was_interrupted_is_entered_again(void **state)
{
	fake.kick_at_trap = true;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	assert_int_equal(fake.nps, 0);
	assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_NP);
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(stats().np, 1);
}

static void test_C10_a_reset_forgets_what_is_outstanding(void **state)
{
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(stats().outstanding, 1);
	apf_kvm_vcpu_reset(fake.v);
	assert_int_equal(stats().outstanding, 0);
	fake_pages_come(&fake);
	assert_int_equal(fake.msis, 0);
}

static void test_N4_an_ACK_sends_what_waited_for_the_token_word(void **state)
{
	static const struct step steps[] = {
		CALL(fake_pages_come), WRMSR(APF_MSR_ACK, 1), EXIT,
	};

	fake_set_word(AREA + APF_AREA_TOKEN, 0x7000);
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.msis, 0);		/* not consumed */
	fake_set_word(AREA + APF_AREA_TOKEN, 0);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.msis, 1);
}

/* A ready waits because the APIC is off. */
static void queue_a_ready(void)
{
	unsigned int before = fake.msis;

	fake.here[5] = false;
	assert_int_equal(fake_run(reads_page_5), 0);
	fake.apic_off = true;
	fake_pages_come(&fake);
	assert_int_equal(fake.msis, before);
	assert_int_equal(fake_word(AREA + APF_AREA_TOKEN), 0);
}

static void test_N6_the_timer_tries_a_blocked_ready_with_a_bounded_backoff(void **state)
{
	static const uint64_t ms[] = { 1, 2, 4, 8, 16, 32, 64, 100, 100 };

	queue_a_ready();
	for (size_t i = 0; i < sizeof(ms) / sizeof(*ms); i++) {
		assert_int_equal(fake.later_ns, ms[i] * MS);
		fake_timer(&fake);
	}
	fake.apic_off = false;
	fake_timer(&fake);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, fake.cr2);
	assert_null(fake.later);
	fake_set_word(AREA + APF_AREA_TOKEN, 0);
	queue_a_ready();
	assert_int_equal(fake.later_ns, 1 * MS);
}

static void test_N6_a_blocked_ready_is_tried_at_the_next_run(void **state)
{
	static const struct step steps[] = { EXIT };

	queue_a_ready();
	fake.apic_off = false;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.msis, 1);
}

static void test_N10_a_lost_page_ends_the_run_and_is_named(void **state)
{
	fake.lost[5] = true;
	assert_int_equal(fake_run(reads_page_5), -EIO);
	assert_int_equal(apf_kvm_lost(fake.v), GPA(5));
	assert_non_null(strstr(apf_error(), "the fake lost it"));
	assert_int_equal(fake.nps, 0);
}

static void loses_page_5(struct fake *g)
{
	fake_page_comes(5, -EIO);
}

static void test_N10_a_page_lost_while_it_is_waited_for_ends_the_run(void **state)
{
	fake.regs.rflags = 2;
	fake.world = loses_page_5;
	assert_int_equal(fake_run(reads_page_5), -EIO);
	assert_int_equal(apf_kvm_lost(fake.v), GPA(5));
}

static void test_N10_a_lost_page_of_an_np_sends_its_own_token_then_the_access_fails(void **state)
{
	static const struct step steps[] = { TOUCH(5), CALL(loses_page_5), TOUCH(5), EXIT };

	assert_int_equal(fake_run(steps), -EIO);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, fake.cr2);
	assert_int_equal(stats().outstanding, 0);
}

/* The guest has handled its NP: reason word 0. */
static void run_to_np(void)
{
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.nps, 1);
	fake_set_word(AREA + APF_AREA_REASON, 0);
}

/* 2010: the ready is an exception, which only the vCPU's own thread can inject. */
static void test_L5_a_ready_takes_the_vcpu_out_of_the_guest_and_is_a_PF(void **state)
{
	static const struct step steps[] = { CALL(fake_pages_come), EXIT };
	uint32_t token;

	run_to_np();
	token = (uint32_t)fake.cr2;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 2);
	assert_int_equal(fake.cr2, token);
	assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_READY);
	assert_int_equal(fake.msis, 0);
}

static void test_L11_C4_a_ready_ends_a_HLT(void **state)
{
	static const struct step steps[] = { HLT, EXIT };

	run_to_np();
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 2);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_RUNNABLE);
}

/* It would be lost there; C10 has the rest. */
static void test_L5_C10_a_vcpu_that_waits_for_its_start_takes_no_ready(void **state)
{
	static const struct step steps[] = { CALL(fake_pages_come), EXIT };

	run_to_np();
	fake.mp_state = KVM_MP_STATE_INIT_RECEIVED;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_NONE);
	assert_non_null(fake.later);
}

static void allow_interrupts(struct fake *g)
{
	g->regs.rflags |= 0x200;
}

/* What forbids it is looked at again at exits, here one that the timer makes. */
static void test_L5_a_ready_that_may_not_be_injected_is_tried_again(void **state)
{
	static const struct step steps[] = {
		CALL(fake_pages_come), CALL(fake_timer), CALL(allow_interrupts), CALL(fake_timer),
		EXIT,
	};

	run_to_np();
	fake.regs.rflags = 2;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 2);
}

#define INT(test) cmocka_unit_test_setup_teardown(test, init_int, fake_destroy)
#define L(test) cmocka_unit_test_setup_teardown(test, init_2010, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		INT(test_C1_C2_an_np_lets_the_guest_run_on_and_its_page_sends_one_ready),
		INT(test_C3_a_repeated_fault_halts_without_a_second_token),
		INT(test_C4a_a_halt_serves_interrupts_and_then_faults_again),
		INT(test_C4b_a_wait_serves_nothing),
		INT(test_C4b_a_wait_ends_at_a_kick_and_the_access_faults_again),
		INT(test_C5_a_full_queue_of_the_pager_is_asked_until_it_takes_the_page),
		INT(test_C2_a_page_that_comes_while_its_np_is_decided_sends_its_ready),
		INT(test_C7_a_page_that_comes_while_a_halt_is_decided_ends_it),
		INT(test_C13_an_np_whose_entry_was_interrupted_is_entered_again),
		INT(test_C10_a_reset_forgets_what_is_outstanding),
		INT(test_N4_an_ACK_sends_what_waited_for_the_token_word),
		INT(test_N6_the_timer_tries_a_blocked_ready_with_a_bounded_backoff),
		INT(test_N6_a_blocked_ready_is_tried_at_the_next_run),
		INT(test_N10_a_lost_page_ends_the_run_and_is_named),
		INT(test_N10_a_page_lost_while_it_is_waited_for_ends_the_run),
		INT(test_N10_a_lost_page_of_an_np_sends_its_own_token_then_the_access_fails),
		L(test_L5_a_ready_takes_the_vcpu_out_of_the_guest_and_is_a_PF),
		L(test_L11_C4_a_ready_ends_a_HLT),
		L(test_L5_C10_a_vcpu_that_waits_for_its_start_takes_no_ready),
		L(test_L5_a_ready_that_may_not_be_injected_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
