/* SPDX-License-Identifier: MIT */
/* Where the binding stands in for KVM it follows KVM's rules, and keeps out of what is the VMM's. */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define EFER_LONG	0x500u			/* LME, LMA: what the fake's guest has */
#define EFER_NX		(1u << 11)
#define EFER_SVME	(1u << 12)
#define EFER_FFXSR	(1u << 14)
#define EFER_AUTOIBRS	(1u << 21)
#define CPUID_SVM	(1u << 2)
#define CPUID_NX	(1u << 20)
#define CPUID_LM	(1u << 29)

static unsigned int gps_of_efer(uint64_t value)
{
	const struct step steps[] = { WRMSR(MSR_EFER, value), EXIT };
	unsigned int before = fake.gps;

	assert_int_equal(fake_run(steps), 0);
	return fake.gps - before;
}

static void test_bits_of_EFER_that_the_vcpus_CPUID_has_not_are_a_GP(void **state)
{
	static const uint32_t never[] = { EFER_SVME, EFER_FFXSR, EFER_AUTOIBRS };

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(gps_of_efer(EFER_LONG | EFER_NX), 0);
	assert_int_equal(fake.efer, EFER_LONG | EFER_NX);
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		assert_int_equal(gps_of_efer(EFER_LONG | never[i]), 1);
	fake.cpuid[4].edx = CPUID_LM;
	assert_int_equal(gps_of_efer(EFER_LONG | EFER_NX), 1);
	fake.cpuid[4].edx = CPUID_NX;
	fake.sregs.cr0 &= ~0x80000000ull;
	assert_int_equal(gps_of_efer(EFER_LONG), 1);
	assert_int_equal(fake.efer, EFER_LONG | EFER_NX);
}

static void test_bits_of_EFER_that_the_vcpus_CPUID_has_are_taken(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.cpuid[4].ecx = CPUID_SVM;
	assert_int_equal(gps_of_efer(EFER_LONG | EFER_SVME), 0);
	assert_int_equal(fake.efer, EFER_LONG | EFER_SVME);
}

static void test_LME_cannot_be_changed_under_paging(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(gps_of_efer(0), 1);
	assert_int_equal(fake.efer, 0);
	fake.sregs.cr0 &= ~0x80000000ull;
	assert_int_equal(gps_of_efer(0), 0);
}

/* One that is refused is no sign of an INIT, either. */
static void test_C10_a_refused_write_of_EFER_drops_nothing(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake_on(APF_ABI_X86_INT);
	fake.sregs.cr0 &= ~0x80000000ull;
	assert_int_equal(gps_of_efer(EFER_LONG | EFER_SVME), 1);
	assert_int_equal(fake_run((struct step[]){ RDMSR(APF_MSR_EN), EXIT }), 0);
	assert_int_equal(fake.read, EN_ON);
}

static void test_the_guests_write_to_a_ROM_is_the_VMMs(void **state)
{
	static const struct step steps[] = { STORE(GPA(7), 0x1234), EXIT };
	uint64_t was = 0x5678, is;

	fake.readonly = true;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.here[7] = true;
	memcpy(fake.ram + 7 * 4096, &was, sizeof(was));
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_MMIO);
	memcpy(&is, fake.ram + 7 * 4096, sizeof(is));
	assert_int_equal(is, was);
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
}

static void test_the_emulators_write_to_RAM_is_carried_out(void **state)
{
	static const struct step steps[] = { STORE(GPA(7), 0x1234), EXIT };
	uint64_t is;

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	memcpy(&is, fake.ram + 7 * 4096, sizeof(is));
	assert_int_equal(is, 0x1234);
}

static void test_L1_an_area_in_a_ROM_is_a_GP(void **state)
{
	static const struct step steps[] = { WRMSR(APF_MSR_EN, EN_ON), RDMSR(APF_MSR_EN), EXIT };

	fake.readonly = true;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.gps, 1);
	assert_int_equal(fake.read, 0);
}

static void test_C14_nested_guests_need_a_host_that_tells_of_them(void **state)
{
	fake.no_guest_mode = true;
	fake.cpuid[4].ecx = CPUID_SVM;
	assert_int_equal(fake_create(APF_ABI_X86_INT, APF_DELIVERY_USER), -EOPNOTSUPP);
	assert_non_null(strstr(apf_error(), "SVM"));
	fake_destroy(NULL);
	fake.cpuid[4].ecx = CPUID_SVM;
	assert_int_equal(fake_create(APF_ABI_X86_INT, APF_DELIVERY_USER), 0);
	fake_destroy(NULL);
	fake.no_guest_mode = true;
	fake.cpuid[4].ecx = CPUID_SVM;
	assert_int_equal(fake_create(APF_ABI_X86_INT, APF_DELIVERY_SYNC), 0);
}

#define LEAVES 8

union table {
	struct kvm_cpuid2 head;
	uint8_t bytes[sizeof(struct kvm_cpuid2) + LEAVES * sizeof(struct kvm_cpuid_entry2)];
};

static struct kvm_cpuid_entry2 base_leaf(uint32_t function, const char *name)
{
	struct kvm_cpuid_entry2 e = { .function = function };
	uint32_t words[3] = { 0 };

	memcpy(words, name, strlen(name));
	e.ebx = words[0];
	e.ecx = words[1];
	e.edx = words[2];
	return e;
}

static void test_C14_without_such_a_host_CPUID_loses_VMX_and_SVM(void **state)
{
	static const struct kvm_cpuid_entry2 both[] = {
		{ .function = 1, .ecx = ~0u }, { .function = 0x80000001, .ecx = ~0u },
	};

	for (int tells = 0; tells < 2; tells++) {
		union table t = { .head.nent = 2 };

		memcpy(t.head.entries, both, sizeof(both));
		fake.no_guest_mode = !tells;
		fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
		apf_kvm_cpuid(fake.k, &t.head);
		assert_int_equal(t.head.entries[0].ecx, tells ? ~0u : ~(1u << 5));
		assert_int_equal(t.head.entries[1].ecx, tells ? ~0u : ~CPUID_SVM);
		fake_destroy(NULL);
	}
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
}

/* With Hyper-V's leaves in the first place KVM's lie behind them. */
static void test_N5_only_KVMs_own_leaves_are_edited_wherever_they_lie(void **state)
{
	union table t = { .head.nent = 5 };

	t.head.entries[0] = base_leaf(0x40000000, "Microsoft Hv");
	t.head.entries[1] = (struct kvm_cpuid_entry2){ .function = 0x40000001, .eax = 0x31237648 };
	t.head.entries[2] = base_leaf(0x40000100, "KVMKVMKVM");
	t.head.entries[3] = (struct kvm_cpuid_entry2){ .function = 0x40000101, .eax = APF_CPUID_VMEXIT | 1 };
	t.head.entries[4] = (struct kvm_cpuid_entry2){ .function = 0x40000200 };
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	apf_kvm_cpuid(fake.k, &t.head);
	assert_int_equal(t.head.entries[1].eax, 0x31237648);
	assert_int_equal(t.head.entries[3].eax, APF_CPUID_ASYNC_PF | APF_CPUID_INT | 1);
}

static void test_the_PDPTEs_of_a_PAE_guest_are_fetched_before_its_registers_are_set(void **state)
{
	struct kvm_sregs s = { .cr0 = 0x80000001, .cr3 = GPA(9) + 0x20, .cr4 = 0x20 };

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &s), 0);
	assert_true(fake.here[9]);
	s = (struct kvm_sregs){ .cr0 = 0x80000001, .cr3 = GPA(10), .cr4 = 0x20, .efer = EFER_LONG };
	assert_int_equal(apf_kvm_need_sregs(fake.k, &s), 0);
	assert_false(fake.here[10]);
	fake.lost[11] = true;
	s = (struct kvm_sregs){ .cr0 = 0x80000001, .cr3 = GPA(11), .cr4 = 0x20 };
	assert_int_equal(apf_kvm_need_sregs(fake.k, &s), -EIO);
}

static void test_C12_registers_that_KVM_does_not_tell_are_not_saved_as_off(void **state)
{
	uint32_t mp = KVM_MP_STATE_RUNNABLE;
	uint8_t bytes[1024];

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_KERNEL);
	fake.msrs_refused = true;
	assert_int_equal(apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp), 0);
	assert_non_null(strstr(apf_error(), "cannot read"));
}

static void test_a_page_that_comes_between_EFAULT_and_the_look_is_no_error(void **state)
{
	static const struct step steps[] = { EFAULT_ON(6), EXIT };

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
}

static void test_a_trap_without_an_address_is_tried_again(void **state)
{
	static const struct step steps[] = { TOUCH(5), EXIT };

	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	fake.world = fake_pages_come;
	fake.unnamed = 3;
	assert_int_equal(fake_run(steps), 0);
	assert_true(fake.here[5]);
	fake.unnamed = 500;
	fake.here[5] = false;
	assert_int_equal(fake_run(steps), -ENOBUFS);
	assert_non_null(strstr(apf_error(), "RLIMIT_SIGPENDING"));
}

static void test_the_VMMs_own_MSR_exits_stay_on(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake.msr_exits, KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN);
}

static void test_a_filter_of_the_VMMs_is_merged_behind_the_librarys(void **state)
{
	static uint8_t theirs[1] = { 0 };
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };

	fake.merge_msr_filter = true;
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake.filter.ranges[0].nmsrs, 0);
	f.ranges[0] = (struct kvm_msr_filter_range){ KVM_MSR_FILTER_READ, 8, 0x4b564d00, theirs };
	assert_int_equal(apf_kvm_msr_filter(fake.k, &f), 0);
	fake.filter = f;
	for (unsigned int i = 0; i < 16 && f.ranges[i].nmsrs; i++)
		fake.bitmap[i][0] = f.ranges[i].bitmap[0];
	assert_true(fake_filtered(APF_MSR_EN, KVM_MSR_FILTER_WRITE));
	assert_true(fake_filtered(MSR_EFER, KVM_MSR_FILTER_WRITE));
	assert_ptr_equal(f.ranges[4].bitmap, theirs);
	for (unsigned int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		f.ranges[i].nmsrs = 1;
	assert_int_equal(apf_kvm_msr_filter(fake.k, &f), -ENOSPC);
}

#define TEST(name) cmocka_unit_test_teardown(name, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bits_of_EFER_that_the_vcpus_CPUID_has_not_are_a_GP),
		TEST(test_bits_of_EFER_that_the_vcpus_CPUID_has_are_taken),
		TEST(test_LME_cannot_be_changed_under_paging),
		TEST(test_C10_a_refused_write_of_EFER_drops_nothing),
		TEST(test_the_guests_write_to_a_ROM_is_the_VMMs),
		TEST(test_the_emulators_write_to_RAM_is_carried_out),
		TEST(test_L1_an_area_in_a_ROM_is_a_GP),
		TEST(test_C14_nested_guests_need_a_host_that_tells_of_them),
		TEST(test_C14_without_such_a_host_CPUID_loses_VMX_and_SVM),
		TEST(test_N5_only_KVMs_own_leaves_are_edited_wherever_they_lie),
		TEST(test_the_PDPTEs_of_a_PAE_guest_are_fetched_before_its_registers_are_set),
		TEST(test_C12_registers_that_KVM_does_not_tell_are_not_saved_as_off),
		TEST(test_a_page_that_comes_between_EFAULT_and_the_look_is_no_error),
		TEST(test_a_trap_without_an_address_is_tried_again),
		TEST(test_the_VMMs_own_MSR_exits_stay_on),
		TEST(test_a_filter_of_the_VMMs_is_merged_behind_the_librarys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
