/* SPDX-License-Identifier: MIT */
/* What of the protocol goes through x86's registers: CPUID, MSRs, events, messages. */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define X86_2010 APF_ABI_X86_2010
#define X86_RFC APF_ABI_X86_RFC
#define X86_INT APF_ABI_X86_INT

static uint32_t announced(enum apf_abi_id abi, enum apf_delivery delivery, uint32_t before)
{
	union {
		struct kvm_cpuid2 head;
		uint8_t bytes[sizeof(struct kvm_cpuid2) + 3 * sizeof(struct kvm_cpuid_entry2)];
	} c = { .head.nent = 3 };

	c.head.entries[0] = (struct kvm_cpuid_entry2){ .function = 1, .eax = 7 };
	c.head.entries[1] = (struct kvm_cpuid_entry2){ .function = APF_CPUID_LEAF, .eax = before };
	c.head.entries[2] = (struct kvm_cpuid_entry2){ .function = 0x40000000, .ebx = 0x4b4d564b,
						       .ecx = 0x564b4d56, .edx = 0x4d };
	fake_init(abi, delivery);
	apf_kvm_cpuid(fake.k, &c.head);
	assert_int_equal(c.head.entries[0].eax, 7);
	fake_destroy(NULL);
	return c.head.entries[1].eax;
}

static void test_N5_I8_cpuid_bits_of_each_generation_and_mode(void **state)
{
	const uint32_t all = APF_CPUID_ASYNC_PF | APF_CPUID_INT | APF_CPUID_VMEXIT;

	for (uint32_t other = 0; other <= 1; other++) {
		for (uint32_t host = 0; host <= all; host += all) {
			assert_int_equal(announced(X86_INT, APF_DELIVERY_USER, host | other),
					 APF_CPUID_ASYNC_PF | APF_CPUID_INT | other);
			assert_int_equal(announced(X86_INT, APF_DELIVERY_KERNEL, host | other),
					 APF_CPUID_ASYNC_PF | APF_CPUID_INT | other);
			assert_int_equal(announced(X86_RFC, APF_DELIVERY_USER, host | other),
					 APF_CPUID_ASYNC_PF | other);
			assert_int_equal(announced(X86_2010, APF_DELIVERY_USER, host | other),
					 APF_CPUID_ASYNC_PF | other);
			assert_int_equal(announced(X86_INT, APF_DELIVERY_SYNC, host | other), other);
		}
	}
}

static void test_a_generation_that_the_mode_has_not_is_refused(void **state)
{
	assert_int_equal(fake_create(X86_2010, APF_DELIVERY_KERNEL), -EINVAL);
	assert_non_null(strstr(apf_error(), "2010"));
	assert_int_equal(fake_create(X86_RFC, APF_DELIVERY_KERNEL), -EINVAL);
	assert_int_equal(fake_create(APF_ABI_ARM64, APF_DELIVERY_USER), -EINVAL);
	fake.no_async_pf_int = true;
	assert_int_equal(fake_create(X86_INT, APF_DELIVERY_KERNEL), -EOPNOTSUPP);
	fake.no_msr_filter = true;
	assert_int_equal(fake_create(X86_INT, APF_DELIVERY_USER), -EOPNOTSUPP);
	assert_non_null(strstr(apf_error(), "KVM_CAP_X86_MSR_FILTER"));
}

static void test_slots_that_share_addresses_or_RAM_are_refused(void **state)
{
	const uint64_t half = sizeof(fake.ram) / 2;
	const struct {
		uint64_t gpa, size, offset;	/* of the second; the first: 0, half, 0 */
		int res;
	} rows[] = {
		{ half, half, half, 0 },
		{ 16 * half, 4096, 2 * half - 4096, 0 },
		{ half - 4096, half, half, -EINVAL },
		{ half, half, half - 4096, -EINVAL },
		{ 16 * half, half, 0, -EINVAL },
		{ 4096, 4096, half + 4096, -EINVAL },
		{ half, 4096, 4096, -EINVAL },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct apf_kvm_slot slots[] = {
			{ .size = half },
			{ .gpa = rows[i].gpa, .size = rows[i].size, .offset = rows[i].offset },
		};
		struct apf_kvm_config cfg = {
			.kvm_fd = KVM_FD, .vm_fd = VM_FD, .mem = (struct apf_mem *)&fake,
			.slots = slots, .nr_slots = 2, .delivery = APF_DELIVERY_SYNC,
			.max_vcpus = 1,
		};
		struct apf_kvm *k = NULL;
		int err = apf_kvm_create(&cfg, &k);

		if (err != rows[i].res || (err && !strstr(apf_error(), "slots 0 and 1 share")))
			fail_msg("row %u: %d, %s", i, err, apf_error());
		apf_kvm_destroy(k);
	}
}

static void test_L1_I2_N4_accesses_to_the_three_registers_come_here(void **state)
{
	const uint32_t rw = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;

	fake_init(X86_INT, APF_DELIVERY_SYNC);
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t index = 0x4b564d00 + i;
		bool ours = index == APF_MSR_EN || index == APF_MSR_INT || index == APF_MSR_ACK;

		assert_int_equal(fake_filtered(index, KVM_MSR_FILTER_READ), ours);
		assert_int_equal(fake_filtered(index, KVM_MSR_FILTER_WRITE), ours);
		assert_int_equal(apf_kvm_owns_msr(index), ours);
	}
	assert_false(fake_filtered(MSR_EFER, rw));
}

/* KVM writes there behind the trap's back, so that the page has to be there first. */
static void test_C9_registers_that_make_KVM_write_memory_have_their_page_fetched(void **state)
{
	static const uint32_t registers[] = { 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d03,
					      0x4b564d04 };
	struct step steps[] = { WRMSR(0, GPA(9) | 1), EXIT };

	fake_init(X86_INT, APF_DELIVERY_USER);
	fake.world = fake_pages_come;
	for (size_t i = 0; i < sizeof(registers) / sizeof(*registers); i++) {
		assert_true(fake_filtered(registers[i], KVM_MSR_FILTER_WRITE));
		assert_false(fake_filtered(registers[i], KVM_MSR_FILTER_READ));
	}
	for (uint32_t i = 2; i < sizeof(registers) / sizeof(*registers); i++) {
		fake.here[9] = false;
		steps[0].a = registers[i];
		assert_int_equal(fake_run(steps), 0);
		assert_true(fake.here[9]);
		assert_int_equal(fake.kvm_msr[registers[i] - 0x4b564d00], GPA(9) | 1);
	}
}

static void test_L1_N5_N7_a_refused_write_is_a_GP(void **state)
{
	static const struct step steps[] = {
		WRMSR(APF_MSR_EN, EN_ON | APF_EN_VMEXIT), WRMSR(APF_MSR_EN, EN_ON | 16),
		WRMSR(APF_MSR_EN, (EN_ON & 0x3f)), WRMSR(APF_MSR_INT, 0x1f3),
		RDMSR(APF_MSR_EN), EXIT,
	};
	static const struct step good[] = {
		WRMSR(APF_MSR_INT, VECTOR), WRMSR(APF_MSR_EN, EN_ON), RDMSR(APF_MSR_EN),
		EXIT,
	};

	fake_init(X86_INT, APF_DELIVERY_USER);
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.gps, 4);
	assert_int_equal(fake.read, 0);
	assert_int_equal(fake_run(good), 0);
	assert_int_equal(fake.gps, 4);
	assert_int_equal(fake.read, EN_ON);
}

static void test_I2_N4_a_register_that_the_generation_has_not_is_a_GP(void **state)
{
	static const struct step steps[] = {
		RDMSR(APF_MSR_EN), RDMSR(APF_MSR_INT), RDMSR(APF_MSR_ACK), EXIT,
	};
	static const struct {
		enum apf_abi_id abi;
		unsigned int missing;
	} has[] = { { X86_INT, 0 }, { X86_RFC, 1 }, { X86_2010, 2 } };

	for (size_t i = 0; i < 3; i++) {
		fake_init(has[i].abi, APF_DELIVERY_USER);
		assert_int_equal(fake_run(steps), 0);
		assert_int_equal(fake.gps, has[i].missing);
		fake_destroy(NULL);
	}
	fake_init(X86_INT, APF_DELIVERY_USER);
}

static void test_C9_the_area_is_fetched_when_APF_is_enabled(void **state)
{
	static const struct step steps[] = { WRMSR(APF_MSR_EN, EN_ON), EXIT };

	fake_init(X86_INT, APF_DELIVERY_USER);
	fake.here[1] = false;
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_true(fake.here[1]);
}

static void kernel_mode(struct fake *g)
{
	g->sregs.ss.dpl = 0;
}

static void irqs_off(struct fake *g)
{
	g->regs.rflags &= ~0x200ull;
}

static void shadow(struct fake *g)
{
	g->events.interrupt.shadow = 2;
}

static void exception_injected(struct fake *g)
{
	g->events.exception.injected = 1;
}

static void interrupt_injected(struct fake *g)
{
	g->events.interrupt.injected = 1;
}

static void nmi_injected(struct fake *g)
{
	g->events.nmi.injected = 1;
}

static void nmi_pending(struct fake *g)
{
	g->events.nmi.pending = 1;
}

static void smi_pending(struct fake *g)
{
	g->events.smi.pending = 1;
}

static void no_paging(struct fake *g)
{
	g->sregs.cr0 &= ~0x80000000ull;
}

static void in_smm(struct fake *g)
{
	g->events.smi.smm = 1;
}

static void in_nested_guest(struct fake *g)
{
	g->run->flags |= 1 << 2;	/* KVM_RUN_X86_GUEST_MODE */
}

static const struct {
	const char *name;
	void (*state)(struct fake *g);
	enum apf_why why;
} gates[] = {
	{ "C4a kernel mode", kernel_mode, APF_WHY_KERNEL },
	{ "C4a no paging", no_paging, APF_WHY_NOPAGING },
	{ "C4b interrupts off", irqs_off, APF_WHY_IRQS_OFF },
	{ "C4b interrupt shadow", shadow, APF_WHY_SHADOW },
	{ "C11 exception", exception_injected, APF_WHY_EVENT },
	{ "C11 interrupt", interrupt_injected, APF_WHY_EVENT },
	{ "C11 NMI", nmi_injected, APF_WHY_EVENT },
	{ "C11 pending NMI", nmi_pending, APF_WHY_EVENT },
	{ "C11 pending SMI", smi_pending, APF_WHY_EVENT },
	{ "C14 SMM", in_smm, APF_WHY_SMM },
	{ "C14 nested guest", in_nested_guest, APF_WHY_NESTED },
};

/* Its reason is told from the registers of the moment, by either way of reading them. */
static void test_C4_C11_C14_each_gate_is_read_from_the_vcpu(void **state)
{
	static const struct step steps[] = { TOUCH(5), EXIT };
	struct apf_vcpu_stats s;

	for (size_t i = 0; i < 2 * sizeof(gates) / sizeof(*gates); i++) {
		fake.no_sync_regs = i % 2;
		fake_init(X86_INT, APF_DELIVERY_USER);
		fake_on(X86_INT);
		fake.world = fake_pages_come;
		gates[i / 2].state(&fake);
		assert_int_equal(fake_run(steps), 0);
		apf_kvm_vcpu_stats(fake.v, &s);
		if (!s.why[gates[i / 2].why] || s.np)
			fail_msg("%s", gates[i / 2].name);
		fake_destroy(NULL);
	}
	fake_init(X86_INT, APF_DELIVERY_USER);
}

/* What else is in KVM's events goes back as it was. */
static void test_C13_C8_np_is_a_PF_with_error_code_0_and_the_token_in_CR2(void **state)
{
	static const struct step steps[] = { TOUCH(5), EXIT };

	for (int i = 0; i < 2; i++) {
		fake.no_sync_regs = i;
		fake_init(X86_INT, APF_DELIVERY_USER);
		fake_on(X86_INT);
		fake.events.nmi.masked = 1;
		fake.events.interrupt.nr = 0x31;
		fake.world = fake_pages_come;
		assert_int_equal(fake_run(steps), 0);
		assert_int_equal(fake.nps, 1);
		assert_true(fake.cr2 && fake.cr2 < UINT32_MAX);
		assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_NP);
		assert_int_equal(fake.events.nmi.masked, 1);
		assert_int_equal(fake.events.interrupt.nr, 0x31);
		assert_int_equal(fake.events.flags, KVM_VCPUEVENT_VALID_PAYLOAD);
		fake_destroy(NULL);
	}
	fake_init(X86_INT, APF_DELIVERY_USER);
}

static void test_C13_an_np_that_KVM_refuses_leaves_no_reason_word_and_waits(void **state)
{
	static const struct step steps[] = { TOUCH(5), EXIT };

	fake.no_sync_regs = true;
	fake_init(X86_INT, APF_DELIVERY_USER);
	fake_on(X86_INT);
	fake.events_refused = true;
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 0);
	assert_int_equal(fake_word(AREA + APF_AREA_REASON), APF_REASON_NONE);
	assert_int_equal(fake.msis, 0);
}

static void test_I5_N1_C15_ready_is_a_message_to_this_APIC_after_the_token_is_written(void **state)
{
	static const struct step steps[] = {
		TOUCH(5), CALL(fake_pages_come), EXIT,
	};

	fake_init(X86_INT, APF_DELIVERY_USER);
	fake_on(X86_INT);
	fake.world = fake_pages_come;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.nps, 1);
	assert_int_equal(fake.msis, 1);
	assert_int_equal(fake.msi_token, fake.cr2);
	assert_int_equal(fake.msi.data, VECTOR);
	assert_int_equal(fake.msi.address_lo, 0xfee00000);
	assert_int_equal(fake.msi.address_hi, 0);
}

static const struct step writes_efer[] = { WRMSR(MSR_EFER, 0x500), EXIT };

/* An in-kernel APIC does not report an INIT; what follows it does. */
static void test_C10_EFER_written_with_paging_off_is_the_sign_of_an_INIT(void **state)
{
	fake_init(X86_INT, APF_DELIVERY_USER);
	fake_on(X86_INT);
	no_paging(&fake);
	assert_int_equal(fake_run(writes_efer), 0);
	assert_int_equal(fake.efer, 0x500);
	assert_int_equal(fake.gps, 0);
	assert_int_equal(fake_run((struct step[]){ RDMSR(APF_MSR_EN), EXIT }), 0);
	assert_int_equal(fake.read, 0);
}

static void test_C10_EFER_written_with_paging_on_is_no_INIT(void **state)
{
	fake_init(X86_INT, APF_DELIVERY_USER);
	fake_on(X86_INT);
	assert_int_equal(fake_run(writes_efer), 0);
	assert_int_equal(fake.efer, 0x500);
	assert_int_equal(fake_run((struct step[]){ RDMSR(APF_MSR_EN), EXIT }), 0);
	assert_int_equal(fake.read, EN_ON);
}

/* In mode kernel the guest's registers are KVM's: they come from there and go there. */
static void test_C12_mode_kernel_saves_and_loads_KVMs_own_registers(void **state)
{
	uint8_t bytes[1024];
	uint32_t mp = KVM_MP_STATE_RUNNABLE;
	size_t n;

	fake_init(X86_INT, APF_DELIVERY_KERNEL);
	fake.kvm_msr[2] = EN_ON;
	fake.kvm_msr[6] = VECTOR;
	n = apf_kvm_vcpu_save(fake.v, bytes, sizeof(bytes), &mp);
	assert_in_range(n, 1, sizeof(bytes));
	fake_destroy(NULL);

	fake_init(X86_INT, APF_DELIVERY_KERNEL);
	assert_int_equal(apf_kvm_vcpu_load(fake.v, bytes, n, APF_DELIVERY_KERNEL), 0);
	assert_int_equal(fake.kvm_msr[2], EN_ON);
	assert_int_equal(fake.kvm_msr[6], VECTOR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_N5_I8_cpuid_bits_of_each_generation_and_mode),
		cmocka_unit_test_teardown(test_slots_that_share_addresses_or_RAM_are_refused,
					  fake_destroy),
		cmocka_unit_test_teardown(test_a_generation_that_the_mode_has_not_is_refused,
					  fake_destroy),
		cmocka_unit_test_teardown(test_L1_I2_N4_accesses_to_the_three_registers_come_here,
					  fake_destroy),
		cmocka_unit_test_teardown(
			test_C9_registers_that_make_KVM_write_memory_have_their_page_fetched, fake_destroy),
		cmocka_unit_test_teardown(test_L1_N5_N7_a_refused_write_is_a_GP, fake_destroy),
		cmocka_unit_test_teardown(test_I2_N4_a_register_that_the_generation_has_not_is_a_GP,
					  fake_destroy),
		cmocka_unit_test_teardown(test_C9_the_area_is_fetched_when_APF_is_enabled, fake_destroy),
		cmocka_unit_test_teardown(test_C4_C11_C14_each_gate_is_read_from_the_vcpu, fake_destroy),
		cmocka_unit_test_teardown(
			test_C13_C8_np_is_a_PF_with_error_code_0_and_the_token_in_CR2, fake_destroy),
		cmocka_unit_test_teardown(
			test_C13_an_np_that_KVM_refuses_leaves_no_reason_word_and_waits, fake_destroy),
		cmocka_unit_test_teardown(
			test_I5_N1_C15_ready_is_a_message_to_this_APIC_after_the_token_is_written,
			fake_destroy),
		cmocka_unit_test_teardown(test_C10_EFER_written_with_paging_off_is_the_sign_of_an_INIT,
					  fake_destroy),
		cmocka_unit_test_teardown(test_C10_EFER_written_with_paging_on_is_no_INIT, fake_destroy),
		cmocka_unit_test_teardown(test_C12_mode_kernel_saves_and_loads_KVMs_own_registers,
					  fake_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
