/* SPDX-License-Identifier: MIT */
/* Cached access to guest-physical memory (V2), on the fake VM's slots. */
#include <errno.h>
#include <string.h>

#include <apf/gpa_cache.h>
#include <kvm/binding.h>

#include "fake.h"

#define HIGH	0x80000000ull

/* The lower half of RAM where it is, the upper one high up. */
static const struct apf_kvm_slot two[] = {
	{ .gpa = FAKE_GPA, .size = sizeof(fake.ram) / 2 },
	{ .gpa = HIGH, .size = sizeof(fake.ram) / 2, .offset = sizeof(fake.ram) / 2 },
};
static const struct apf_kvm_slot swapped[] = {
	{ .gpa = HIGH, .size = sizeof(fake.ram) / 2 },
	{ .gpa = FAKE_GPA, .size = sizeof(fake.ram) / 2, .offset = sizeof(fake.ram) / 2 },
};

static int setup(void **state)
{
	fake_init(APF_ABI_X86_INT, APF_DELIVERY_USER);
	memset(fake.here, true, sizeof(fake.here));
	for (uint32_t i = 0; i < sizeof(fake.ram) / 4; i++)
		memcpy(fake.ram + 4 * i, &i, 4);
	apf_slots_set(fake.k, two, 2);
	return 0;
}

static uint32_t read_at(struct apf_gpa_cache *c, uint64_t gpa)
{
	uint32_t value;

	assert_int_equal(apf_gpa_cache_read(c, fake.k, gpa, &value, 4), 0);
	return value;
}

static void test_V2_reads_and_writes_hit_the_slot_of_each_address(void **state)
{
	struct apf_gpa_cache c = { 0 };
	uint32_t value = 0xabcd;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(read_at(&c, FAKE_GPA + 0x40), 0x10);
		assert_int_equal(read_at(&c, FAKE_GPA + 0x44), 0x11);
		assert_int_equal(read_at(&c, HIGH), sizeof(fake.ram) / 8);
		assert_int_equal(read_at(&c, HIGH + sizeof(fake.ram) / 2 - 4), sizeof(fake.ram) / 4 - 1);
	}
	assert_int_equal(apf_gpa_cache_write(&c, fake.k, HIGH + 8, &value, 4), 0);
	assert_int_equal(read_at(&c, HIGH + 8), 0xabcd);
	memcpy(&value, fake.ram + sizeof(fake.ram) / 2 + 8, 4);
	assert_int_equal(value, 0xabcd);
}

static void test_V2_a_hit_needs_no_look_up(void **state)
{
	struct apf_gpa_cache c = { 0 };

	read_at(&c, HIGH);
	fake.k->slots[1].gpa = 0;	/* nobody says so: it is not looked at */
	assert_int_equal(read_at(&c, HIGH + 4), sizeof(fake.ram) / 8 + 1);
}

static void test_V2_other_slots_are_noticed(void **state)
{
	struct apf_gpa_cache c = { 0 };
	uint32_t value = 0;

	read_at(&c, HIGH);
	apf_slots_set(fake.k, swapped, 2);
	assert_int_equal(read_at(&c, HIGH), 0);
	assert_int_equal(read_at(&c, FAKE_GPA), sizeof(fake.ram) / 8);
	apf_slots_set(fake.k, swapped, 1);
	assert_int_equal(apf_gpa_cache_read(&c, fake.k, FAKE_GPA, &value, 4), -ERANGE);
	assert_int_equal(apf_gpa_cache_write(&c, fake.k, FAKE_GPA, &value, 4), -ERANGE);
	assert_int_equal(read_at(&c, HIGH), 0);
}

static void test_V2_C9_what_is_no_RAM_or_not_here_is_refused(void **state)
{
	static const struct {
		uint64_t gpa;
		size_t len;
		int ret;
	} t[] = {
		{ FAKE_GPA - 4, 4, -ERANGE },
		{ FAKE_GPA - 2, 4, -ERANGE },
		{ FAKE_GPA + sizeof(fake.ram) / 2, 4, -ERANGE },
		{ FAKE_GPA + sizeof(fake.ram) / 2 - 2, 4, -ERANGE },
		{ FAKE_GPA, SIZE_MAX, -ERANGE },
		{ UINT64_MAX, 4, -ERANGE },
		{ GPA(5), 4, -EFAULT },
		{ GPA(5) - 2, 4, -EFAULT },
		{ GPA(4), 4, 0 },
	};

	fake.here[5] = false;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct apf_gpa_cache cold = { 0 }, warm = { 0 };
		uint32_t value;

		read_at(&warm, FAKE_GPA);
		assert_int_equal(apf_gpa_cache_read(&cold, fake.k, t[i].gpa, &value, t[i].len), t[i].ret);
		assert_int_equal(apf_gpa_cache_read(&warm, fake.k, t[i].gpa, &value, t[i].len), t[i].ret);
		assert_int_equal(read_at(&warm, FAKE_GPA + 4), 1);
	}
	assert_int_equal(fake.wanted[5], 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, fake_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_V2_reads_and_writes_hit_the_slot_of_each_address),
		T(test_V2_a_hit_needs_no_look_up),
		T(test_V2_other_slots_are_noticed),
		T(test_V2_C9_what_is_no_RAM_or_not_here_is_refused),
	};

	return cmocka_run_group_tests_name("kvm/gpa_cache", tests, NULL, NULL);
}
