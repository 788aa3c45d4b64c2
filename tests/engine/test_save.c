/* SPDX-License-Identifier: MIT */
/* Saving and loading a vCPU, also from bytes that an enemy wrote. */
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "fake.h"
#include "invariants.h"

/* Offsets of the saved layout (docs/engine.md). */
enum { MAGIC, VERSION = 4, ABI = 8, ID = 12, COUNTER = 16, FLAGS = 20, WAITING = 24, READY = 28,
       EN = 32, INT = 40, ENTRIES = 48, ENTRY = 12, TOKEN = 8 };

static struct fake g, h;
static uint8_t saved[4096], again[4096];

/* Tokens: [0] in the token word, [1] queued ready, [2] and [3] waiting. */
static size_t save_busy_guest(uint32_t *tokens)
{
	fake_on(&g, CONFIG());
	for (uint32_t i = 0; i < 4; i++)
		tokens[i] = inject(&g, 100 + i);
	apf_vcpu_page_done(g.v, 100);
	apf_vcpu_page_done(g.v, 101);
	apf_vcpu_freeze(g.v, true);
	return apf_vcpu_save(g.v, saved, sizeof(saved));
}

static void count_page(void *arg, uint64_t gfn, uint32_t token)
{
	uint32_t *tokens = arg;

	assert_true(gfn == 102 || gfn == 103);
	assert_int_equal(token, tokens[gfn - 100]);
	tokens[gfn - 100] = 0;
}

static void test_C12_every_token_gets_its_ready_after_the_restore(void **state)
{
	uint32_t tokens[4], left[4];
	size_t size = save_busy_guest(tokens);

	assert_int_equal(size, ENTRIES + 3 * ENTRY);
	fake_init(&h, CONFIG(.max_outstanding = 3));
	h.token = g.token;
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	assert_null(broken_invariant(h.v));
	assert_string_equal(h.log, "");

	memcpy(left, tokens, sizeof(left));
	apf_vcpu_for_each(h.v, count_page, left);
	assert_int_equal(left[2] | left[3], 0);

	assert_int_equal(apf_vcpu_poll(h.v), 0);
	assert_int_equal(h.token, tokens[0]);	/* not yet consumed by the restored guest */
	ack(&h);
	assert_int_equal(h.token, tokens[1]);
	ack(&h);
	apf_vcpu_page_done(h.v, 103);
	assert_int_equal(h.token, tokens[3]);
	ack(&h);
	apf_vcpu_page_done(h.v, 102);
	assert_int_equal(h.token, tokens[2]);
	assert_int_equal(h.raises, 3);
	assert_int_equal(stats(&h).broadcasts, 0);
	ack(&h);
	assert_true(inject(&h, 1) > tokens[3]);
}

static void test_C12_saving_what_was_loaded_gives_the_same_bytes(void **state)
{
	uint32_t tokens[4];
	size_t size = save_busy_guest(tokens);

	fake_init(&h, CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	assert_int_equal(apf_vcpu_save(h.v, NULL, 0), size);
	memset(again, 0xaa, sizeof(again));
	assert_int_equal(apf_vcpu_save(h.v, again, size - 1), size);
	assert_int_equal(again[0], 0xaa);
	assert_int_equal(apf_vcpu_save(h.v, again, size), size);
	assert_memory_equal(saved, again, size);
	assert_int_equal(again[size], 0xaa);
}

static void test_C12_queued_wake_all_is_saved(void **state)
{
	fake_on(&g, CONFIG());
	inject(&g, 1);
	g.raise_result = 0;
	apf_vcpu_broadcast(g.v);
	size_t size = apf_vcpu_save(g.v, saved, sizeof(saved));

	fake_init(&h, CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	apf_vcpu_poll(h.v);
	assert_int_equal(h.token, APF_TOKEN_BROADCAST);
	assert_int_equal(apf_vcpu_outstanding(h.v), 0);
}

static void test_C12_set_that_does_not_fit_becomes_one_wake_all(void **state)
{
	uint32_t tokens[4];
	size_t size = save_busy_guest(tokens);

	fake_init(&h, CONFIG(.max_outstanding = 2));
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -ENOSPC);
	assert_true(apf_vcpu_enabled(h.v));
	assert_int_equal(stats(&h).outstanding + stats(&h).queued, 0);
	apf_vcpu_broadcast(h.v);
	assert_int_equal(h.token, APF_TOKEN_BROADCAST);
	ack(&h);
	assert_int_equal(h.token, 0);
	assert_true(inject(&h, 1) > tokens[3]);
}

static void test_C16_where_a_vcpu_stood_is_not_saved_it_faults_again(void **state)
{
	struct apf_fault f = user_fault(7);

	fake_on(&g, CONFIG());
	f.user = false;
	take(&g, f);
	size_t size = apf_vcpu_save(g.v, saved, sizeof(saved));

	fake_on(&h, CONFIG());
	take(&h, f);
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	assert_int_equal(apf_vcpu_page_done(h.v, 7), 0);
}

static void test_C12_hostile_bytes_are_refused_and_leave_a_reset_vcpu(void **state)
{
	static const struct {
		const char *name;
		size_t offset, len;
		uint64_t value;
		int ret;
	} t[] = {
		{ "nothing", 0, 0, 0, 0 },
		{ "magic", MAGIC, 4, 0, -EINVAL },
		{ "version 0", VERSION, 4, 0, -EINVAL },
		{ "version 2", VERSION, 4, 2, -EINVAL },
		{ "abi", ABI, 4, APF_ABI_X86_RFC, -EINVAL },
		{ "id", ID, 4, 6, -EINVAL },
		{ "largest counter", COUNTER, 4, 0xfffff, 0 },
		{ "counter", COUNTER, 4, 0x100000, -EINVAL },
		{ "flag", FLAGS, 4, 2, -EINVAL },
		{ "one more entry", WAITING, 4, 3, -EINVAL },
		{ "one less entry", READY, 4, 0, -EINVAL },
		{ "many entries", WAITING, 4, 0xffffffff, -EINVAL },
		{ "all entries", WAITING, 8, 0xffffffffffffffff, -EINVAL },
		{ "other split", WAITING, 8, 3, 0 },
		{ "EN reserved", EN, 8, EN_ON | 1 << 4, -EINVAL },
		{ "EN vmexit", EN, 8, EN_ON | APF_EN_VMEXIT, -EINVAL },
		{ "EN not RAM", EN, 8, RAM_BYTES | 9, -EINVAL },
		{ "disabled with a set", EN, 8, 0, -EINVAL },
		{ "no INT bit with a set", EN, 8, EN_ON & ~APF_EN_INT, -EINVAL },
		{ "vector", INT, 8, 256, -EINVAL },
		{ "page past RAM", ENTRIES, 8, RAM_BYTES >> 12, -EINVAL },
		{ "last page", ENTRIES, 8, (RAM_BYTES >> 12) - 1, 0 },
		{ "page that wraps", ENTRIES, 8, 1ull << 52, -EINVAL },
		{ "token 0", ENTRIES + TOKEN, 4, 0, -EINVAL },
		{ "token ~0", ENTRIES + TOKEN, 4, ~0u, -EINVAL },
		{ "token of another", ENTRIES + TOKEN, 4, 0x1006, -EINVAL },
		{ "another token", ENTRIES + TOKEN, 4, 0xabcde005, 0 },
		{ "token twice", ENTRIES + TOKEN, 4, 0x2005, -EINVAL },
	};
	uint32_t tokens[4];
	size_t size = save_busy_guest(tokens);

	assert_int_equal(tokens[1], 0x2005);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		memcpy(again, saved, size);
		memcpy(again + t[i].offset, &t[i].value, t[i].len);
		fake_on(&h, CONFIG());
		inject(&h, 77);
		int ret = apf_vcpu_load(h.v, again, size);

		if (ret != t[i].ret)
			fail_msg("%s: %d (%s)", t[i].name, ret, apf_error());
		assert_null(broken_invariant(h.v));
		assert_int_equal(apf_vcpu_enabled(h.v), !ret);
		assert_int_equal(stats(&h).outstanding + stats(&h).queued, ret ? 0 : 3);
		if (ret)
			assert_string_not_equal(apf_error(), "");
	}
}

static void test_C12_every_cut_and_every_extra_byte_is_refused(void **state)
{
	uint32_t tokens[4];
	size_t size = save_busy_guest(tokens);

	for (size_t n = 0; n <= size + 1; n++) {
		fake_init(&h, CONFIG());
		assert_int_equal(apf_vcpu_load(h.v, saved, n), n == size ? 0 : -EINVAL);
	}
}

static void test_C12_another_generation_is_refused_and_both_are_named(void **state)
{
	static const struct {
		enum apf_abi_id from, to;
		const char *from_name, *to_name;
	} t[] = {
		{ APF_ABI_X86_INT, APF_ABI_X86_2010, "generation int (1)", "offers 2010 (2)" },
		{ APF_ABI_X86_INT, APF_ABI_X86_RFC, "generation int (1)", "offers rfc (3)" },
		{ APF_ABI_X86_2010, APF_ABI_X86_INT, "generation 2010 (2)", "offers int (1)" },
		{ APF_ABI_X86_2010, APF_ABI_X86_RFC, "generation 2010 (2)", "offers rfc (3)" },
		{ APF_ABI_X86_RFC, APF_ABI_X86_2010, "generation rfc (3)", "offers 2010 (2)" },
		{ APF_ABI_X86_RFC, APF_ABI_X86_INT, "generation rfc (3)", "offers int (1)" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_on(&g, CONFIG(.abi = t[i].from));
		inject(&g, 1);
		size_t size = apf_vcpu_save(g.v, saved, sizeof(saved));

		fake_on(&h, CONFIG(.abi = t[i].to));
		assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
		assert_non_null(strstr(apf_error(), t[i].from_name));
		assert_non_null(strstr(apf_error(), t[i].to_name));
		assert_false(apf_vcpu_enabled(h.v));
	}
	memset(saved + ABI, 0x77, 4);
	assert_int_equal(apf_vcpu_load(h.v, saved, 256), -EINVAL);
	assert_non_null(strstr(apf_error(), "generation unknown"));
	assert_null(apf_abi_name(0));
	assert_string_equal(apf_abi_name(4), "arm64");
	assert_null(apf_abi_name(5));
	assert_null(apf_abi_name(UINT32_MAX));
}

static void test_N7_state_of_an_enabled_vcpu_needs_a_local_apic(void **state)
{
	uint32_t tokens[4];
	size_t size = save_busy_guest(tokens);

	fake_init(&h, CONFIG(.has_lapic = false));
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
	memset(saved + INT, 0, 8);
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
	fake_init(&g, CONFIG());
	write_reg(&g, APF_MSR_INT, VECTOR);
	size = apf_vcpu_save(g.v, saved, sizeof(saved));
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
	fake_init(&g, CONFIG());
	size = apf_vcpu_save(g.v, saved, sizeof(saved));
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C12_every_token_gets_its_ready_after_the_restore),
		cmocka_unit_test(test_C12_saving_what_was_loaded_gives_the_same_bytes),
		cmocka_unit_test(test_C12_queued_wake_all_is_saved),
		cmocka_unit_test(test_C12_set_that_does_not_fit_becomes_one_wake_all),
		cmocka_unit_test(test_C16_where_a_vcpu_stood_is_not_saved_it_faults_again),
		cmocka_unit_test(test_C12_hostile_bytes_are_refused_and_leave_a_reset_vcpu),
		cmocka_unit_test(test_C12_every_cut_and_every_extra_byte_is_refused),
		cmocka_unit_test(test_C12_another_generation_is_refused_and_both_are_named),
		cmocka_unit_test(test_N7_state_of_an_enabled_vcpu_needs_a_local_apic),
	};

	return cmocka_run_group_tests_name("engine/save", tests, NULL, NULL);
}
