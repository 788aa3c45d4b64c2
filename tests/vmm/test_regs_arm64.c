/* SPDX-License-Identifier: MIT */
/* The arm64 sections of a snapshot as bytes: nothing in them is believed. On any machine. */
#include "test_vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <vmm/regs_arm64.h>

/* An id whose value has 1 << bits bytes. */
#define ID(bits, number) (0x6000000000000000ull | (uint64_t)(bits) << 52 | (number))

static uint8_t bytes[4096];

static size_t add_reg(size_t at, uint64_t id, uint8_t fill)
{
	memcpy(bytes + at, &id, sizeof(id));
	memset(bytes + at + 8, fill, vmm_reg_size(id));
	return at + 8 + ((vmm_reg_size(id) + 7) & ~7ull);
}

static void test_registers_of_every_size_come_back(void **state)
{
	struct vmm_bytes b = { .data = bytes };
	struct vmm_reg r;
	size_t pos = 0;

	for (unsigned int bits = 0; bits <= 8; bits++)
		b.len = add_reg(b.len, ID(bits, bits), (uint8_t)(bits + 1));
	for (unsigned int bits = 0; bits <= 8; bits++) {
		assert_int_equal(vmm_regs_next(&b, &pos, &r), 1);
		assert_int_equal(r.id, ID(bits, bits));
		assert_int_equal(r.size, 1u << bits);
		assert_int_equal(r.value[r.size - 1], bits + 1);
	}
	assert_int_equal(vmm_regs_next(&b, &pos, &r), 0);
}

static void test_a_register_cut_anywhere_is_refused(void **state)
{
	const size_t len = add_reg(0, ID(4, 1), 7);

	for (size_t n = 1; n < len; n++) {
		uint8_t *copy = malloc(n);	/* ASan sees an access behind the end */
		const struct vmm_bytes b = { copy, n };
		struct vmm_reg r;
		size_t pos = 0;

		memcpy(copy, bytes, n);
		assert_int_equal(vmm_regs_next(&b, &pos, &r), -EINVAL);
		assert_non_null(strstr(apf_error(), "one_regs"));
		free(copy);
	}
}

static void test_a_register_of_impossible_size_is_refused(void **state)
{
	for (unsigned int bits = 9; bits <= 15; bits++) {
		const struct vmm_bytes b = { bytes, sizeof(bytes) };
		struct vmm_reg r;
		size_t pos = 0;

		add_reg(0, ID(bits, 1), 0);
		assert_int_equal(vmm_reg_size(ID(bits, 1)), 0);
		assert_int_equal(vmm_regs_next(&b, &pos, &r), -EINVAL);
	}
}

static int next_gic(uint32_t group, uint32_t reg, bool of_vcpu, size_t len)
{
	const struct vmm_gic_reg put = { .group = group, .reg = reg, .value = 5 };
	const struct vmm_bytes b = { (const uint8_t *)&put, len };
	struct vmm_gic_reg r = { 0 };
	size_t pos = 0;
	int more = vmm_gic_next(&b, &pos, of_vcpu, &r);

	if (more == 1) {
		assert_memory_equal(&r, &put, sizeof(r));
		assert_int_equal(vmm_gic_next(&b, &pos, of_vcpu, &r), 0);
	}
	return more;
}

static void test_every_interrupt_register_is_taken_in_its_own_section_only(void **state)
{
	for (size_t i = 0; i < VMM_GIC_RANGES; i++) {
		const struct vmm_gic_range *g = &vmm_gic_ranges[i];

		assert_true(g->count > 0);
		for (uint32_t k = 0; k < g->count; k++) {
			const uint32_t reg = g->first + k * g->step;

			assert_int_equal(next_gic(g->group, reg, g->of_vcpu, 16), 1);
			assert_int_equal(next_gic(g->group, reg, !g->of_vcpu, 16), -EINVAL);
		}
	}
}

static void test_other_interrupt_registers_are_refused(void **state)
{
	static const struct {
		uint32_t group, reg;
		bool of_vcpu;
	} cases[] = {
		{ 0, 0, false }, { 2, 0, false }, { 4, 0, false },	/* addresses, CPU regs, control */
		{ VMM_GIC_DIST, 2, false }, { VMM_GIC_DIST, 0x100, false },
		{ VMM_GIC_DIST, 0x40, false }, { VMM_GIC_DIST, UINT32_MAX, false },
		{ VMM_GIC_REDIST, 0, true }, { VMM_GIC_REDIST, 0x10104, true },
		{ VMM_GIC_SYSREGS, 0, true }, { VMM_GIC_LEVELS, 64, false },
		{ UINT32_MAX, 0, true },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(next_gic(cases[i].group, cases[i].reg, cases[i].of_vcpu, 16), -EINVAL);
		assert_non_null(strstr(apf_error(), "gic"));
	}
}

static void test_an_interrupt_register_cut_anywhere_is_refused(void **state)
{
	for (size_t len = 1; len < sizeof(struct vmm_gic_reg); len++)
		assert_int_equal(next_gic(VMM_GIC_DIST, 0, false, len), -EINVAL);
}

/* What is saved twice would be loaded twice: edges twice are interrupts twice. */
static void test_no_interrupt_register_is_in_two_ranges(void **state)
{
	for (size_t i = 0; i < VMM_GIC_RANGES; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct vmm_gic_range *a = &vmm_gic_ranges[i], *b = &vmm_gic_ranges[k];

			if (a->group != b->group || a->of_vcpu != b->of_vcpu)
				continue;
			assert_true(a->first + a->count * a->step <= b->first ||
				    b->first + b->count * b->step <= a->first);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers_of_every_size_come_back),
		cmocka_unit_test(test_a_register_cut_anywhere_is_refused),
		cmocka_unit_test(test_a_register_of_impossible_size_is_refused),
		cmocka_unit_test(test_every_interrupt_register_is_taken_in_its_own_section_only),
		cmocka_unit_test(test_other_interrupt_registers_are_refused),
		cmocka_unit_test(test_an_interrupt_register_cut_anywhere_is_refused),
		cmocka_unit_test(test_no_interrupt_register_is_in_two_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
