/* SPDX-License-Identifier: MIT */
/* vCPUs that may not be halted for a page: without HLT exits, or without a local APIC (C4, I2, N7). */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define PV_UNHALT	(1u << 7)
#define EAX		0x01000001u	/* of KVM's features, as the VMM set it */

static const struct step reads_page_5[] = { TOUCH(5), EXIT };

/* KVM's leaves are not the first ones. */
static void set_cpuid(uint32_t eax)
{
	struct kvm_cpuid_entry2 base = { .function = 0x40000100 };

	memcpy(&base.ebx, "KVMKVMKVM\0\0\0", 12);
	fake.cpuid[0] = (struct kvm_cpuid_entry2){ .function = 0x40000000, .ebx = 1 };
	fake.cpuid[1] = base;
	fake.cpuid[2] = (struct kvm_cpuid_entry2){ .function = 0x40000101, .eax = eax };
}

/* While it stands at the page the vCPU is in this state, with an interrupt pending. */
static uint32_t stands;

static void look_then_page(struct fake *g)
{
	stands = g->mp_state;
	fake_pages_come(g);
}

static void check_stands(uint32_t mp_state)
{
	fake.sregs.ss.dpl = 0;		/* C4 (a) */
	fake.world = look_then_page;
	stands = UINT32_MAX;
	assert_int_equal(fake_run(reads_page_5), 0);
	assert_int_equal(stands, mp_state);
}

static void test_C4_without_HLT_exits_a_vcpu_waits(void **state)
{
	for (uint32_t shown = 0; shown <= PV_UNHALT; shown += PV_UNHALT) {
		fake.hlt_exits_off = true;
		set_cpuid(EAX | shown);
		fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
		check_stands(KVM_MP_STATE_RUNNABLE);
		fake_destroy(NULL);
	}
}

static void test_C4_with_HLT_exits_a_vcpu_halts_and_its_cpuid_stays(void **state)
{
	for (uint32_t shown = 0; shown <= PV_UNHALT; shown += PV_UNHALT) {
		set_cpuid(EAX | shown);
		fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
		assert_int_equal(fake.cpuid[2].eax, EAX | shown);
		check_stands(KVM_MP_STATE_HALTED);
		fake_destroy(NULL);
	}
}

static void test_C4_a_guest_that_is_not_shown_KVM_halts(void **state)
{
	fake.hlt_exits_off = true;
	set_cpuid(EAX);
	fake.cpuid[1].ebx++;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake.cpuid[2].eax, EAX);
	check_stands(KVM_MP_STATE_HALTED);
}

static void test_C4_without_a_local_APIC_a_vcpu_waits(void **state)
{
	fake.no_lapic = true;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	check_stands(KVM_MP_STATE_RUNNABLE);
}

static void test_I2_N7_without_a_local_APIC_interrupts_are_not_taken(void **state)
{
	static const struct step int_steps[] = {
		WRMSR(APF_MSR_INT, VECTOR), WRMSR(APF_MSR_EN, EN_ON), WRMSR(APF_MSR_EN, 0), EXIT,
	}, rfc_steps[] = {
		WRMSR(APF_MSR_INT, VECTOR | APF_PF2_ENABLED), WRMSR(APF_MSR_EN, L_EN_ON), EXIT,
	};

	for (int no_lapic = 0; no_lapic < 2; no_lapic++) {
		fake.no_lapic = no_lapic;
		fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
		assert_int_equal(fake_run(int_steps), 0);
		assert_int_equal(fake.gps, no_lapic ? 2 : 0);
		fake_destroy(NULL);
		fake.no_lapic = no_lapic;
		fake_init(APF_ABI_X86_RFC, APF_DELIVERY_USER);
		assert_int_equal(fake_run(rfc_steps), 0);
		assert_int_equal(fake.gps, no_lapic);
		fake_destroy(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C4_without_HLT_exits_a_vcpu_waits),
		cmocka_unit_test(test_C4_with_HLT_exits_a_vcpu_halts_and_its_cpuid_stays),
		cmocka_unit_test_teardown(test_C4_a_guest_that_is_not_shown_KVM_halts, fake_destroy),
		cmocka_unit_test_teardown(test_C4_without_a_local_APIC_a_vcpu_waits, fake_destroy),
		cmocka_unit_test(test_I2_N7_without_a_local_APIC_interrupts_are_not_taken),
	};

	return cmocka_run_group_tests_name("kvm/halt", tests, NULL, NULL);
}
