/* SPDX-License-Identifier: MIT */
/* A vCPU goes from thread to thread, and goes away; who comes late finds nobody. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "fake.h"

static const struct step reads_page_5[] = { TOUCH(5), EXIT };

static int init(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	return 0;
}

static void kick(struct fake *g)
{
	apf_kvm_kick(g->v);
}

static int bind_again(void)
{
	return apf_kvm_vcpu_add(fake.k, 0, 1002, fake.run, &fake.v);
}

/* Its thread may have ended, and another may have its pthread_t. */
static void test_a_page_of_a_vcpu_without_a_thread_signals_nobody(void **state)
{
	unsigned int before;

	fake.sregs.ss.dpl = 0;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	apf_kvm_vcpu_detach(fake.v);
	before = fake.signals;
	fake_pages_come(&fake);
	apf_kvm_kick(fake.v);
	assert_int_equal(fake.signals, before);
}

static void test_a_detached_vcpu_is_gone_on_with_where_it_stood(void **state)
{
	fake.sregs.ss.dpl = 0;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_HALTED);
	apf_kvm_vcpu_detach(fake.v);
	fake_pages_come(&fake);
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), 0);
	fake.world = NULL;
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_RUNNABLE);
}

static void test_a_kick_between_two_threads_is_not_lost(void **state)
{
	static const struct step steps[] = { EXIT };

	apf_kvm_kick(fake.v);
	apf_kvm_vcpu_detach(fake.v);
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), 0);
	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake_go_on(), 0);
}

static void test_a_vcpu_has_one_thread_at_a_time(void **state)
{
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), -EBUSY);
	apf_kvm_vcpu_detach(fake.v);
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), 0);
}

static void test_a_thread_that_does_not_get_its_vcpu_has_its_signals_as_before(void **state)
{
	sigset_t none, now;

	apf_kvm_vcpu_detach(fake.v);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fake.mask_refused = true;
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), -EINVAL);
	sigprocmask(SIG_SETMASK, NULL, &now);
	assert_false(sigismember(&now, SIGUSR1));
	assert_false(sigismember(&now, SIGBUS));
	fake.mask_refused = false;
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), 0);
}

static void test_only_a_vcpu_without_a_thread_is_removed_and_its_id_is_free_then(void **state)
{
	assert_int_equal(bind_again(), -EEXIST);
	assert_int_equal(apf_kvm_vcpu_remove(fake.v), -EBUSY);
	apf_kvm_vcpu_detach(fake.v);
	assert_int_equal(apf_kvm_vcpu_remove(fake.v), 0);
	for (int i = 0; i < 3; i++) {		/* the VM has room for one */
		assert_int_equal(bind_again(), 0);
		assert_int_equal(apf_kvm_vcpu_remove(fake.v), 0);
	}
}

static void test_C10_a_removed_vcpu_gets_no_ready_and_its_successor_none_of_its_readies(void **state)
{
	struct apf_kvm_stats s;

	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(fake.nps, 1);
	apf_kvm_vcpu_detach(fake.v);
	assert_int_equal(apf_kvm_vcpu_remove(fake.v), 0);
	apf_kvm_stats(fake.k, &s);
	assert_int_equal(s.engine.outstanding + s.engine.np, 0);
	fake_pages_come(&fake);
	assert_int_equal(fake.msis, 0);
	assert_int_equal(bind_again(), 0);
	fake_page_comes(5, 0);
	assert_int_equal(fake.msis, 0);
	apf_kvm_stats(fake.k, &s);
	assert_int_equal(s.engine.outstanding + s.engine.np, 0);
}

/* A ready that could not go out has a timer, which cannot be called back. */
static void test_N6_the_timer_of_a_removed_vcpu_does_nothing(void **state)
{
	assert_int_equal(fake_run(reads_page_5), 0);
	fake.apic_off = true;
	fake_pages_come(&fake);
	assert_non_null(fake.later);
	apf_kvm_vcpu_detach(fake.v);
	assert_int_equal(apf_kvm_vcpu_remove(fake.v), 0);
	fake.apic_off = false;
	fake_timer(&fake);
	assert_int_equal(fake.msis, 0);
	assert_null(fake.later);
}

#define T(test) cmocka_unit_test_setup_teardown(test, init, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_page_of_a_vcpu_without_a_thread_signals_nobody),
		T(test_a_detached_vcpu_is_gone_on_with_where_it_stood),
		T(test_a_kick_between_two_threads_is_not_lost),
		T(test_a_vcpu_has_one_thread_at_a_time),
		T(test_a_thread_that_does_not_get_its_vcpu_has_its_signals_as_before),
		T(test_only_a_vcpu_without_a_thread_is_removed_and_its_id_is_free_then),
		T(test_C10_a_removed_vcpu_gets_no_ready_and_its_successor_none_of_its_readies),
		T(test_N6_the_timer_of_a_removed_vcpu_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
