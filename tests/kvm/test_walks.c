/* SPDX-License-Identifier: MIT */
/* Where KVM walks the guest's page tables by itself, missing ones do not trap (lib/kvm/x86/walks.c). */
#include <errno.h>
#include <string.h>

#include "fake.h"

/* What RAM holds: the tables below the root, and what the guest's addresses are mapped to. */
enum { ROOT = 2, PDPT = 20, PD, PT, OTHER_PDPT, OTHER_PD, IDT, TSS, STACK, DATA, LARGE };

#define VA(page)	((uint64_t)(page) << 12)	/* mapped by PT, each at its number */
#define PRESENT		3u

static void set_entry(unsigned int table, unsigned int i, uint64_t entry)
{
	memcpy(fake.ram + table * 4096 + 8 * i, &entry, sizeof(entry));
}

static void make_tables(void)
{
	const uint64_t stack_end = VA(STACK + 1);

	set_entry(ROOT, 0, GPA(PDPT) | PRESENT);
	set_entry(ROOT, 511, GPA(OTHER_PDPT) | PRESENT);
	set_entry(PDPT, 0, GPA(PD) | PRESENT);
	set_entry(PD, 0, GPA(PT) | PRESENT);
	set_entry(PD, 1, GPA(LARGE) | PRESENT | 0x80);
	for (unsigned int page = 0; page < FAKE_PAGES; page++)
		set_entry(PT, page, GPA(page) | PRESENT);
	set_entry(OTHER_PDPT, 7, GPA(OTHER_PD) | PRESENT);
	memcpy(fake.ram + TSS * 4096 + 4, &stack_end, sizeof(stack_end));	/* RSP0 */
}

static void set_system_registers(void)
{
	fake.sregs.idt = (struct kvm_dtable){ .base = VA(IDT), .limit = 0xfff };
	fake.sregs.gdt = (struct kvm_dtable){ .base = VA(ROOT), .limit = 0x7f };
	fake.sregs.tr = (struct kvm_segment){ .base = VA(TSS), .limit = 0x67 };
	fake.regs.rsp = VA(STACK) + 0x800;
}

static void init(bool software_walks, enum apf_delivery delivery)
{
	fake.software_walks = software_walks;
	fake_init(APF_ABI_X86_INT, delivery);
	fake.world = fake_pages_come;
	make_tables();
	set_system_registers();
}

static bool any_came(void)
{
	for (unsigned int page = PDPT; page < FAKE_PAGES; page++)
		if (fake.here[page])
			return true;
	return false;
}

static void test_what_KVM_reads_by_itself_is_here_before_it_has_the_registers(void **state)
{
	static const unsigned int needed[] = { PDPT, PD, PT, OTHER_PDPT, OTHER_PD, IDT, TSS, STACK };

	init(true, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		assert_true(fake.here[needed[i]]);
	assert_false(fake.here[DATA] || fake.here[LARGE]);
}

static void test_a_table_that_is_lost_is_no_reason_not_to_start(void **state)
{
	init(true, APF_DELIVERY_USER);
	fake.lost[OTHER_PD] = true;
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	assert_true(fake.here[OTHER_PDPT] && fake.here[PT]);
}

static void test_tables_that_refer_to_one_another_have_an_end(void **state)
{
	init(true, APF_DELIVERY_USER);
	for (unsigned int i = 0; i < 512; i++) {
		set_entry(ROOT, i, GPA(i % 2 ? ROOT : PDPT) | PRESENT);
		set_entry(PDPT, i, GPA(i % 2 ? PD : ROOT) | PRESENT);
		set_entry(PD, i, GPA(i % 3 ? PDPT : PT) | PRESENT);
	}
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	assert_true(fake.here[PT]);
}

static void test_where_tables_trap_nothing_is_fetched(void **state)
{
	init(false, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	assert_false(any_came());
	fake_destroy(NULL);
	init(true, APF_DELIVERY_SYNC);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	assert_false(any_came());
}

static void test_the_stack_for_a_first_interrupt_is_here_before_the_first_run(void **state)
{
	static const struct step steps[] = { EXIT };

	init(true, APF_DELIVERY_USER);
	set_entry(PT, DATA, GPA(LARGE) | PRESENT);
	fake.regs.rsp = VA(DATA) + 8;		/* a frame reaches into the page below */
	assert_int_equal(fake_run(steps), 0);
	assert_true(fake.here[LARGE] && fake.here[STACK]);
}

static void test_a_triple_fault_over_a_missing_table_runs_again(void **state)
{
	static const struct step steps[] = { EXIT, TRIPLE(PT), EXIT };

	for (int sync_regs = 0; sync_regs < 2; sync_regs++) {
		fake.no_sync_regs = !sync_regs;
		init(true, APF_DELIVERY_USER);
		assert_int_equal(fake_run(steps), 0);
		memset(fake.here + PDPT, false, FAKE_PAGES - PDPT);
		assert_int_equal(fake_run(steps + 1), 0);
		assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
		assert_true(fake.here[PT] && fake.here[OTHER_PD] && fake.here[IDT]);
		assert_false(fake.here[DATA]);
		assert_int_equal(fake.nps, 0);
		fake_destroy(NULL);
	}
	init(true, APF_DELIVERY_USER);
}

static void kick(struct fake *g)
{
	apf_kvm_kick(g->v);
	g->world = fake_pages_come;
}

static void test_a_kick_ends_the_wait_for_tables_which_goes_on_later(void **state)
{
	static const struct step steps[] = { EXIT, TRIPLE(PT), EXIT };

	init(true, APF_DELIVERY_USER);
	assert_int_equal(fake_run(steps), 0);
	memset(fake.here + PDPT, false, FAKE_PAGES - PDPT);
	fake.world = kick;
	assert_int_equal(fake_run(steps + 1), -EINTR);
	assert_true(apf_kvm_vcpu_pending(fake.v));
	assert_int_equal(fake_go_on(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
}

/* DATA is not what a fault's delivery reads: its absence is no reason. */
static void test_a_triple_fault_for_which_nothing_was_missing_is_the_VMMs(void **state)
{
	static const struct step steps[] = { EXIT, TRIPLE(DATA), EXIT };

	init(true, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	assert_int_equal(fake_run(steps), 0);
	fake.runs = 0;
	fake.here[1] = fake.here[0] = true;	/* RIP's page, and that of the string registers */
	assert_int_equal(fake_run(steps + 1), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_SHUTDOWN);
	assert_in_range(fake.runs, 2, 200);	/* the pages of another vCPU may have come */
}

static void test_a_page_that_comes_between_KVMs_failure_and_the_look_is_no_error(void **state)
{
	static const struct step steps[] = { TRIPLE(DATA), EMULATED_FETCH(DATA + 1), EXIT };

	init(true, APF_DELIVERY_USER);
	assert_int_equal(apf_kvm_need_sregs(fake.k, &fake.sregs), 0);
	fake.here[0] = true;
	fake.meanwhile = true;
	assert_int_equal(fake_run(steps), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(fake.nps, 0);
}

static void test_an_instruction_that_needs_a_page_each_time_is_never_given_up(void **state)
{
	static const struct step steps[] = { EMULATED_FETCH(1), EXIT };

	init(true, APF_DELIVERY_USER);
	for (int i = 0; i < 200; i++) {
		fake.here[1] = false;		/* RIP's page */
		assert_int_equal(fake_run(steps), 0);
		assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	}
}

static void test_a_triple_fault_with_paging_off_or_where_tables_trap_is_the_VMMs(void **state)
{
	static const struct step steps[] = { EXIT, TRIPLE(PT), EXIT };

	for (int paging = 0; paging < 2; paging++) {
		init(!paging, APF_DELIVERY_USER);
		assert_int_equal(fake_run(steps), 0);
		memset(fake.here + PDPT, false, FAKE_PAGES - PDPT);
		if (!paging)
			fake.sregs.cr0 &= ~0x80000000ull;
		assert_int_equal(fake_run(steps + 1), 0);
		assert_int_equal(fake.run->exit_reason, KVM_EXIT_SHUTDOWN);
		assert_false(any_came());
		fake_destroy(NULL);
	}
	init(true, APF_DELIVERY_USER);
}

#define TEST(name) cmocka_unit_test_teardown(name, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_KVM_reads_by_itself_is_here_before_it_has_the_registers),
		TEST(test_a_table_that_is_lost_is_no_reason_not_to_start),
		TEST(test_tables_that_refer_to_one_another_have_an_end),
		TEST(test_where_tables_trap_nothing_is_fetched),
		TEST(test_the_stack_for_a_first_interrupt_is_here_before_the_first_run),
		TEST(test_a_triple_fault_over_a_missing_table_runs_again),
		TEST(test_a_kick_ends_the_wait_for_tables_which_goes_on_later),
		TEST(test_a_triple_fault_for_which_nothing_was_missing_is_the_VMMs),
		TEST(test_a_page_that_comes_between_KVMs_failure_and_the_look_is_no_error),
		TEST(test_an_instruction_that_needs_a_page_each_time_is_never_given_up),
		TEST(test_a_triple_fault_with_paging_off_or_where_tables_trap_is_the_VMMs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
