/* SPDX-License-Identifier: MIT */
/* A vCPU that is saved, and loaded into another VM. */
#include <errno.h>
#include <string.h>

#include "fake.h"

static const struct step reads_page_5[] = { TOUCH(5), EXIT };

static int init(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	return 0;
}

static void timer_tick(struct fake *g)
{
	g->interrupt = true;
}

static void kick(struct fake *g)
{
	apf_kvm_kick(g->v);
}

static uint32_t outstanding(void)
{
	struct apf_vcpu_stats s;

	apf_kvm_vcpu_stats(fake.v, &s);
	return s.outstanding;
}

static void test_C16_a_halt_of_our_making_is_saved_as_runnable(void **state)
{
	uint32_t mp = KVM_MP_STATE_HALTED;
	uint8_t bytes[1024];

	fake.sregs.ss.dpl = 0;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_HALTED);
	assert_in_range(apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp), 1, sizeof(bytes));
	assert_int_equal(mp, KVM_MP_STATE_RUNNABLE);
}

/* An interrupt ended our halt; its handler's own HLT is a real one. */
static void test_C16_a_real_HLT_is_saved_as_halted(void **state)
{
	static const struct step steps[] = { HLT, EXIT };
	uint32_t mp = KVM_MP_STATE_HALTED;
	uint8_t bytes[1024];

	fake.sregs.ss.dpl = 0;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	fake.mp_state = KVM_MP_STATE_RUNNABLE;
	assert_int_equal(fake_run(steps), -EINTR);
	assert_int_equal(fake.mp_state, KVM_MP_STATE_HALTED);
	apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp);
	assert_int_equal(mp, KVM_MP_STATE_HALTED);
	fake_pages_come(&fake);
	fake.world = timer_tick;
	assert_int_equal(fake_go_on(), 0);	/* and what ended our halt did not end this one */
	assert_int_equal(fake.interrupts, 1);
}

/* A VMM goes back to a state of before, in which the guest stood in a HLT of its own there. */
static void test_C16_a_halt_of_our_making_ends_when_another_state_is_loaded(void **state)
{
	uint32_t mp = KVM_MP_STATE_HALTED;
	uint8_t bytes[1024];
	size_t n;

	fake.sregs.ss.dpl = 0;
	fake.world = kick;
	assert_int_equal(fake_run(reads_page_5), -EINTR);
	n = apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp);
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), 0);
	mp = KVM_MP_STATE_HALTED;
	assert_true(apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp) > 0);
	assert_int_equal(mp, KVM_MP_STATE_HALTED);
}

/* Of a VM that is saved with one fault outstanding. */
static size_t save_outstanding(uint8_t *bytes, size_t size, uint32_t *token)
{
	uint32_t mp = KVM_MP_STATE_RUNNABLE;
	size_t n;

	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(outstanding(), 1);
	*token = (uint32_t)fake.cr2;
	apf_kvm_freeze(fake.k, true);
	n = apf_kvm_vcpu_save(fake.v, bytes, size, &mp);
	assert_in_range(n, 1, size);
	fake_destroy(NULL);
	return n;
}

static void test_C12_an_outstanding_page_is_asked_for_again_and_gets_its_ready(void **state)
{
	uint8_t bytes[1024];
	uint32_t token;
	size_t n = save_outstanding(bytes, sizeof(bytes), &token);

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(fake.wanted[5], 1);
	assert_int_equal(fake.msis, 0);
	fake_pages_come(&fake);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, token);
	assert_int_equal(outstanding(), 0);
}

static void test_C12_an_outstanding_page_that_is_here_gets_its_ready_at_once(void **state)
{
	uint8_t bytes[1024];
	uint32_t token;
	size_t n = save_outstanding(bytes, sizeof(bytes), &token);

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.here[5] = true;
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, token);
}

static void test_C12_an_outstanding_page_of_a_ROM_is_loaded_too(void **state)
{
	uint8_t bytes[1024];
	uint32_t token;
	size_t n;

	fake_destroy(NULL);
	fake.rom = 5;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	n = save_outstanding(bytes, sizeof(bytes), &token);
	fake.rom = 5;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(fake.wanted[5], 1);
	fake_pages_come(&fake);
	assert_int_equal(fake.msi_token, token);
}

/* It is loaded before its thread runs, so that there is nobody to be kicked. */
static void test_C12_L5_a_ready_of_2010_is_injected_when_its_vcpu_starts(void **state)
{
	static const struct step steps[] = { EXIT };
	uint8_t bytes[1024];
	uint32_t token;
	size_t n;

	fake_destroy(NULL);
	fake_init(APF_ABI_X86_2010, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_2010);
	n = save_outstanding(bytes, sizeof(bytes), &token);
	fake.no_thread = true;
	fake_init(APF_ABI_X86_2010, APF_DELIVERY_USER);
	fake.here[5] = true;
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), 0);
	assert_int_equal(apf_kvm_vcpu_attach(fake.v), 0);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake.cr2, token);
	assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_READY);
}

static void test_C12_another_way_of_delivery_sends_one_wake_all(void **state)
{
	const enum apf_delivery ways[][2] = { { APF_DELIVERY_USER, APF_DELIVERY_SYNC },
					      { APF_DELIVERY_SYNC, APF_DELIVERY_USER },
					      { APF_DELIVERY_KERNEL, APF_DELIVERY_USER } };
	uint8_t bytes[1024];
	uint32_t token;
	size_t n = save_outstanding(bytes, sizeof(bytes), &token);

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		fake_init(APF_ABI_X86_INT, ways[i][1]);
		assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, ways[i][0]), 0);
		assert_int_equal(fake.msis, 1);
		assert_int_equal(fake.msi_token, APF_TOKEN_BROADCAST);
		fake_pages_come(&fake);
		fake_set_word(AREA + APF_AREA_TOKEN, 0);
		assert_int_equal(fake_run((struct step[]){ WRMSR(APF_MSR_ACK, 1), EXIT }), 0);
		assert_int_equal(fake.msis, 1);
		fake_destroy(NULL);
	}
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
}

static void test_C12_a_vcpu_of_another_generation_is_refused_and_both_are_named(void **state)
{
	uint8_t bytes[1024];
	uint32_t token;
	size_t n = save_outstanding(bytes, sizeof(bytes), &token);

	fake_init(APF_ABI_X86_RFC, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_USER), -EINVAL);
	assert_non_null(strstr(apf_error(), "int"));
	assert_non_null(strstr(apf_error(), "rfc"));
	assert_int_equal(fake.wanted[5], 0);
	assert_int_equal(fake.msis, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, init, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_C16_a_halt_of_our_making_is_saved_as_runnable),
		T(test_C16_a_real_HLT_is_saved_as_halted),
		T(test_C16_a_halt_of_our_making_ends_when_another_state_is_loaded),
		T(test_C12_an_outstanding_page_is_asked_for_again_and_gets_its_ready),
		T(test_C12_an_outstanding_page_that_is_here_gets_its_ready_at_once),
		T(test_C12_an_outstanding_page_of_a_ROM_is_loaded_too),
		T(test_C12_L5_a_ready_of_2010_is_injected_when_its_vcpu_starts),
		T(test_C12_another_way_of_delivery_sends_one_wake_all),
		T(test_C12_a_vcpu_of_another_generation_is_refused_and_both_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
