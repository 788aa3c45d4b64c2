/* SPDX-License-Identifier: MIT */
/*
 * Whatever a vCPU waits for, who wants its thread gets it, and the access goes on
 * correctly afterwards.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "fake.h"

#define VALUE	0x1122334455667788ull
#define CLOCK	0x4b564d01u

static const struct step reads_page_5[] = { TOUCH(5), EXIT };

static int init(void **state)
{
	fake.vmm_signals = true;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	return 0;
}

static void kick(struct fake *g)
{
	apf_kvm_kick(g->v);
}

static void vmm_signal(struct fake *g)
{
	raise(SIGUSR2);
}

static struct apf_vcpu_stats stats(void)
{
	struct apf_vcpu_stats s;

	apf_kvm_vcpu_stats(fake.v, &s);
	return s;
}

static size_t saved(void)
{
	uint32_t mp = KVM_MP_STATE_RUNNABLE;

	return apf_kvm_vcpu_save(fake.v, NULL, 0, &mp);
}

static void run_is_interrupted(const struct step *steps)
{
	assert_int_equal(fake_run(steps), -EINTR);
	assert_true(apf_kvm_vcpu_pending(fake.v));
	assert_int_equal(saved(), 0);
	assert_int_equal(fake_go_on(), -EINTR);		/* still without its page */
	assert_true(apf_kvm_vcpu_pending(fake.v));
}

static void page_comes_and_run_ends(void)
{
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	assert_false(apf_kvm_vcpu_pending(fake.v));
	assert_true(saved() > 0);
}

static uint64_t word(unsigned int page)
{
	uint64_t value;

	memcpy(&value, fake.ram + page * 4096 + 8, sizeof(value));
	return value;
}

static void test_C5_a_kick_ends_the_wait_for_room_in_a_full_queue(void **state)
{
	fake.full = UINT32_MAX;
	fake.kick_at_trap = true;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	assert_false(apf_kvm_vcpu_pending(fake.v));
	fake.full = 0;
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), 0);
}

static void test_a_kick_ends_an_emulated_read_which_gets_its_value_later(void **state)
{
	static const struct step steps[] = { EMULATED_READ(5), EXIT };
	const uint64_t value = VALUE;

	memcpy(fake.ram + 5 * 4096 + 8, &value, sizeof(value));
	fake.world = kick;
	run_is_interrupted(steps);
	page_comes_and_run_ends();
	assert_int_equal(fake.read, VALUE);
}

static void test_a_kick_ends_an_emulated_write_which_is_carried_out_later(void **state)
{
	static const struct step steps[] = { EMULATED_WRITE(5, VALUE), EXIT };

	fake.world = kick;
	run_is_interrupted(steps);
	assert_int_equal(word(5), 0);
	page_comes_and_run_ends();
	assert_int_equal(word(5), VALUE);
}

/* The page has come when the instruction is looked at again: that is not KVM's failure. */
static void test_a_kick_ends_a_failed_fetch_which_is_tried_again_later(void **state)
{
	static const struct step steps[] = { EMULATED_FETCH(7), EXIT };

	fake.sregs.cr0 &= ~0x80000000ull;
	fake.sregs.cs.base = GPA(7) - RIP;
	fake.world = kick;
	run_is_interrupted(steps);
	page_comes_and_run_ends();
}

static void test_C9_a_kick_ends_the_write_of_a_clock_register(void **state)
{
	static const struct step steps[] = { WRMSR(CLOCK, GPA(9) | 1), EXIT };

	fake.world = kick;
	run_is_interrupted(steps);
	assert_int_equal(fake.kvm_msr[1], 0);		/* KVM would write there at once */
	page_comes_and_run_ends();
	assert_int_equal(fake.kvm_msr[1], GPA(9) | 1);
	assert_int_equal(fake.gps, 0);
}

static void test_C9_a_kick_ends_the_enabling_of_an_area_that_is_missing(void **state)
{
	static const struct step steps[] = { WRMSR(APF_MSR_EN, EN_ON), RDMSR(APF_MSR_EN), EXIT };

	fake.here[1] = false;
	fake.world = kick;
	run_is_interrupted(steps);
	page_comes_and_run_ends();
	assert_int_equal(fake.read, EN_ON);
	assert_int_equal(stats().broadcasts, 2);	/* one was before */
}

static void test_C9_a_kick_ends_the_wait_for_what_the_first_run_needs(void **state)
{
	static const struct step steps[] = { EXIT };

	fake_destroy(NULL);
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.sregs.cr4 = 0x20;
	fake.sregs.efer = 0;				/* PAE: KVM reads four entries at CR3 */
	fake.here[2] = false;
	fake.world = kick;
	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake.runs, 0);
	assert_true(saved() > 0);
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), 0);
	assert_true(fake.here[2]);
}

/* A page comes, and is given back before the vCPU that waits for it has looked. */
static void page_comes_and_goes(struct fake *g)
{
	fake_page_comes(5, 0);
	g->here[5] = false;
	g->world = fake_pages_come;
}

static void test_C2_a_halt_ends_though_its_page_was_given_back_at_once(void **state)
{
	fake.sregs.ss.dpl = 0;
	fake.world = page_comes_and_goes;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(stats().halts, 2);
}

static void test_C2_a_wait_ends_though_its_page_was_given_back_at_once(void **state)
{
	fake.regs.rflags = 2;
	fake.world = page_comes_and_goes;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(stats().waits, 2);
}

static void test_C2_what_KVM_needs_is_waited_for_again_if_it_was_given_back_at_once(void **state)
{
	static const struct step steps[] = { EMULATED_READ(5), EXIT };

	fake.world = page_comes_and_goes;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(stats().waits, 2);
}

/* V1: they are decided, counted and traced like all others. */
static void test_V1_C4b_what_the_emulator_misses_is_a_fault_that_waits(void **state)
{
	static const struct step steps[] = { EMULATED_READ(5), EMULATED_WRITE(6, VALUE), EXIT };
	struct apf_kvm_stats s;

	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(stats().why[APF_WHY_KVM], 2);
	assert_int_equal(stats().faults, 2);
	assert_int_equal(stats().waits, 2);
	assert_int_equal(fake.nps, 0);
	apf_kvm_stats(fake.k, &s);
	assert_int_equal(s.emulated, 2);
}

static void test_N10_an_emulated_access_to_a_lost_page_ends_the_run_and_is_named(void **state)
{
	static const struct step steps[] = { EMULATED_READ(5), EXIT };

	fake.lost[5] = true;
	assert_int_equal(fake_run(steps), -EIO);
	assert_int_equal(apf_kvm_lost(fake.v), GPA(5));
}

static void test_immediate_exit_comes_back_and_stays_the_VMMs(void **state)
{
	static const struct step steps[] = { EXIT };

	fake.run->immediate_exit = 1;
	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake.run->immediate_exit, 1);
	fake.run->immediate_exit = 0;
	assert_int_equal(fake_go_on(), 0);
}

/* So a VMM gets a state that can be saved out of a vCPU that is in the middle of an access. */
static void test_immediate_exit_completes_an_access_and_runs_nothing_after_it(void **state)
{
	static const struct step steps[] = { WRMSR(CLOCK, GPA(9) | 1), RDMSR(APF_MSR_EN), EXIT };

	fake.world = kick;
	run_is_interrupted(steps);
	fake.run->immediate_exit = 1;
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), -EINTR);
	assert_false(apf_kvm_vcpu_pending(fake.v));
	assert_int_equal(fake.kvm_msr[1], GPA(9) | 1);
	assert_int_equal(fake.regs.rip, RIP + 1);
	assert_int_equal(fake.read, GPA(9) | 1);	/* KVM's answer to the write, no more */
}

static void a_handler_runs(struct fake *g)
{
	g->handler_ran = true;
}

static void test_a_signal_whose_handler_has_run_comes_back(void **state)
{
	static const struct step steps[] = { CALL(a_handler_runs), EXIT };

	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake_go_on(), 0);
}

static void test_a_signal_of_the_VMMs_ends_the_guest_and_is_handed_over(void **state)
{
	static const struct step steps[] = { CALL(vmm_signal), EXIT };

	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake.on_signal, 1);
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.on_signal, 1);
}

static void test_a_signal_of_the_VMMs_ends_a_wait_and_is_handed_over(void **state)
{
	fake.regs.rflags = 2;
	fake.world = vmm_signal;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	assert_int_equal(fake.on_signal, 1);
	fake.world = fake_pages_come;
	assert_int_equal(fake_go_on(), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, init, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_C5_a_kick_ends_the_wait_for_room_in_a_full_queue),
		T(test_a_kick_ends_an_emulated_read_which_gets_its_value_later),
		T(test_a_kick_ends_an_emulated_write_which_is_carried_out_later),
		T(test_a_kick_ends_a_failed_fetch_which_is_tried_again_later),
		T(test_C9_a_kick_ends_the_write_of_a_clock_register),
		T(test_C9_a_kick_ends_the_enabling_of_an_area_that_is_missing),
		T(test_C9_a_kick_ends_the_wait_for_what_the_first_run_needs),
		T(test_C2_a_halt_ends_though_its_page_was_given_back_at_once),
		T(test_C2_a_wait_ends_though_its_page_was_given_back_at_once),
		T(test_C2_what_KVM_needs_is_waited_for_again_if_it_was_given_back_at_once),
		T(test_V1_C4b_what_the_emulator_misses_is_a_fault_that_waits),
		T(test_N10_an_emulated_access_to_a_lost_page_ends_the_run_and_is_named),
		T(test_immediate_exit_comes_back_and_stays_the_VMMs),
		T(test_immediate_exit_completes_an_access_and_runs_nothing_after_it),
		T(test_a_signal_whose_handler_has_run_comes_back),
		T(test_a_signal_of_the_VMMs_ends_the_guest_and_is_handed_over),
		T(test_a_signal_of_the_VMMs_ends_a_wait_and_is_handed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
