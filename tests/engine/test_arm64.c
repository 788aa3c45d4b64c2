/* SPDX-License-Identifier: MIT */
/* arm64's calls: arguments, results, and what each changes. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <apf/error.h>

#include "fake.h"
#include "invariants.h"

#define ERR(name) APF_ARM64_##name

static struct fake g;

/* Of a call with these whole arguments. */
static int64_t result_of(uint64_t what, uint64_t start, uint64_t size)
{
	const uint64_t x[6] = { (uint32_t)what, what >> 32, (uint32_t)start, start >> 32,
				(uint32_t)size, size >> 32 };

	return call(&g, x, NULL);
}

static void test_A1_the_argument_is_two_halves_low_in_x1_high_in_x2(void **state)
{
	const uint64_t x[6] = { AREA | APF_ARM64_ENABLED, 0x80000000 };
	const uint64_t swapped[6] = { 0x80000000, AREA | APF_ARM64_ENABLED };
	unsigned int out = 0;

	fake_init(&g, A_CONFIG());
	assert_int_not_equal(call(&g, swapped, &out), 0);
	assert_false(apf_vcpu_enabled(g.v));
	assert_int_equal(call(&g, x, &out), 0);
	assert_int_equal(out, APF_OUT_KICK);
	assert_true(apf_vcpu_enabled(g.v));
	assert_int_equal(apf_vcpu_area(g.v), AREA);
}

static void test_A13_an_upper_half_that_is_not_0_is_refused_in_every_register(void **state)
{
	static const uint64_t ops[] = { OP(INFO), OP(ACK), OP(REGION), A_ON, A_ON_INT, 0x33ull << 56 };

	for (size_t op = 0; op < sizeof(ops) / sizeof(ops[0]); op++)
		for (int i = 0; i < 6; i++)
			for (int bit = 32; bit < 64; bit += 31) {
				uint64_t x[6] = { (uint32_t)ops[op], ops[op] >> 32 };

				if (ops[op] == OP(REGION))
					x[2] = x[4] = 0x1000;
				fake_init(&g, A_CONFIG());
				x[i] |= 1ull << bit;
				assert_int_equal(call(&g, x, NULL), ERR(INVALID_PARAMETER));
				assert_false(apf_vcpu_enabled(g.v));
				assert_string_equal(g.log, "");
			}
}

static void test_A2_A3_A10_A13_results(void **state)
{
	static const struct {
		const char *name;
		uint64_t first;		/* a call before; 0: none */
		uint64_t what, start, size;
		int64_t result;
	} t[] = {
		{ "unknown operation", 0, 0, 0, 0, ERR(NOT_SUPPORTED) },
		{ "unknown operation", 0, 3ull << 56, 0, 0, ERR(NOT_SUPPORTED) },
		{ "two operations", 0, OP(ENABLE) | OP(REGION), 0, 0, ERR(NOT_SUPPORTED) },
		{ "a bit more than enable", 0, A_ON | 0x20ull << 56, 0, 0, ERR(NOT_SUPPORTED) },
		{ "unknown, with arguments", 0, 0xffull << 56 | 63, 1, 1, ERR(NOT_SUPPORTED) },

		{ "info", 0, OP(INFO), 0, 0, 0 },
		{ "info, enabled", A_ON, OP(INFO), 0, 0, 0 },
		{ "info with a flag", 0, OP(INFO) | 1, 0, 0, ERR(INVALID_PARAMETER) },
		{ "info with an address", 0, OP(INFO) | AREA, 0, 0, ERR(INVALID_PARAMETER) },
		{ "info with a size", 0, OP(INFO), 0, 1, ERR(INVALID_PARAMETER) },

		{ "enable", 0, A_ON, 0, 0, 0 },
		{ "enable second revision", 0, A_ON_INT, 0, 0, 0 },
		{ "all flags", 0, A_ON | 0xf, 0, 0, 0 },
		{ "the same again", A_ON, A_ON, 0, 0, ERR(NOT_REQUIRED) },
		{ "other revision", A_ON, A_ON_INT, 0, 0, 0 },
		{ "reserved flag 4", 0, A_ON | 16, 0, 0, ERR(INVALID_PARAMETER) },
		{ "reserved flag 5", 0, A_ON | 32, 0, 0, ERR(INVALID_PARAMETER) },
		{ "reserved flag, off", A_ON, OP(ENABLE) | 32, 0, 0, ERR(INVALID_PARAMETER) },
		{ "enable with a start", 0, A_ON, 1, 0, ERR(INVALID_PARAMETER) },
		{ "area not RAM", 0, OP(ENABLE) | RAM_BYTES | 1, 0, 0, ERR(NOT_SUPPORTED) },
		{ "area that is RAM if it is cut", 0, A_ON | 1ull << 32, 0, 0, ERR(NOT_SUPPORTED) },
		{ "largest area", 0, OP(ENABLE) | APF_ARM64_ADDR_MASK | 1, 0, 0,
		  ERR(NOT_SUPPORTED) },
		{ "send always, nothing held off", 0, A_ON | APF_ARM64_SEND_ALWAYS, 0, 0,
		  ERR(NOT_SUPPORTED) },
		{ "send always, busy word", 0, A_ON | APF_ARM64_SEND_ALWAYS | APF_ARM64_BUSY, 0, 0,
		  0 },
		{ "send always, a region", OP(REGION), A_ON | APF_ARM64_SEND_ALWAYS, 0, 0, 0 },

		{ "disable, not enabled", 0, OP(ENABLE), 0, 0, ERR(NOT_REQUIRED) },
		{ "disable", A_ON, OP(ENABLE), 0, 0, 0 },
		{ "disable, address and flags left", A_ON_INT, A_ON_INT & ~1ull, 0, 0, 0 },
		{ "disable with a size", A_ON, OP(ENABLE), 0, 1, ERR(INVALID_PARAMETER) },

		{ "region", 0, OP(REGION), 0x1000, 0x10, 0 },
		{ "region up to the top", 0, OP(REGION), ~0xffull, 0xff, 0 },
		{ "region at 0", 0, OP(REGION), 0, 4, 0 },
		{ "empty region", 0, OP(REGION), 0x1000, 0, ERR(INVALID_PARAMETER) },
		{ "region that wraps", 0, OP(REGION), ~0xffull, 0x100, ERR(INVALID_PARAMETER) },
		{ "all and more", 0, OP(REGION), 1, ~0ull, ERR(INVALID_PARAMETER) },
		{ "region, enabled", A_ON, OP(REGION), 0x1000, 0x10, ERR(NOT_SUPPORTED) },
		{ "region with an address", 0, OP(REGION) | AREA, 0x1000, 0x10,
		  ERR(INVALID_PARAMETER) },
		{ "region with flag 1", 0, OP(REGION) | 2, 0x1000, 0x10, ERR(INVALID_PARAMETER) },
		{ "clear", OP(REGION), OP(REGION) | 1, 0, 0, 0 },
		{ "clear, none there", 0, OP(REGION) | 1, 0, 0, 0 },
		{ "clear, enabled", A_ON, OP(REGION) | 1, 0, 0, ERR(NOT_SUPPORTED) },
		{ "clear with a start", 0, OP(REGION) | 1, 1, 0, ERR(INVALID_PARAMETER) },
		{ "clear with a size", 0, OP(REGION) | 1, 0, 1, ERR(INVALID_PARAMETER) },

		{ "ack", A_ON_INT, OP(ACK), 0, 0, 0 },
		{ "ack, first revision", A_ON, OP(ACK), 0, 0, ERR(NOT_REQUIRED) },
		{ "ack, off", 0, OP(ACK), 0, 0, ERR(NOT_REQUIRED) },
		{ "ack with a flag", A_ON_INT, OP(ACK) | 1, 0, 0, ERR(INVALID_PARAMETER) },
		{ "ack with an address", A_ON_INT, OP(ACK) | AREA, 0, 0, ERR(INVALID_PARAMETER) },
		{ "ack with a start", A_ON_INT, OP(ACK), 1, 0, ERR(INVALID_PARAMETER) },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_init(&g, A_CONFIG());
		if (t[i].first == OP(REGION))
			ask(&g, OP(REGION), 0x1000, 0x10);
		else if (t[i].first)
			ask(&g, t[i].first, 0, 0);
		bool was = apf_vcpu_enabled(g.v);
		int64_t result = result_of(t[i].what, t[i].start, t[i].size);

		if (result != t[i].result)
			fail_msg("%s: %d", t[i].name, (int)result);
		if (result)
			assert_int_equal(apf_vcpu_enabled(g.v), was);
	}
}

static void test_A3_a_refused_area_leaves_the_old_one_enabled(void **state)
{
	fake_arm_on(&g, A_CONFIG(), A_ON_INT);
	uint32_t a = inject(&g, 7);

	assert_int_equal(result_of(OP(ENABLE) | RAM_BYTES | 5, 0, 0), ERR(NOT_SUPPORTED));
	assert_int_equal(result_of(A_ON_INT, 0, 0), ERR(NOT_REQUIRED));
	assert_int_equal(apf_vcpu_area(g.v), AREA);
	assert_string_equal(g.log, "N");
	apf_vcpu_page_done(g.v, 7);
	assert_int_equal(g.token, a);
}

static void test_A1_A16_info_says_what_is_offered(void **state)
{
	const uint64_t x[6] = { 0, OP(INFO) >> 32 };
	uint64_t r[4];

	for (uint8_t ppi = 0; ppi <= 16; ppi += 16) {
		fake_init(&g, A_CONFIG(.ready_irq = ppi));
		assert_int_equal(apf_vcpu_call(g.v, x, r, NULL), 0);
		assert_int_equal(r[0], 0);
		assert_int_equal(r[1], 0x10000);
		assert_int_equal(r[2], ppi ? 3 : 1);
		assert_int_equal(r[3], ppi);
		assert_int_equal(result_of(A_ON_INT, 0, 0), ppi ? 0 : ERR(NOT_SUPPORTED));
	}
}

static void test_A16_ready_irq_must_be_a_ppi(void **state)
{
	static const struct {
		uint8_t irq;
		int ret;
	} t[] = { { 0, 0 }, { 15, -EINVAL }, { 16, 0 }, { 31, 0 }, { 32, -EINVAL } };
	struct apf_engine_ops none = { 0 };
	struct apf_vcpu *v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(apf_vcpu_init(g.mem, sizeof(g.mem),
					       &A_CONFIG(.ready_irq = t[i].irq), &none, NULL, &v),
				 t[i].ret);
}

static void test_A10_four_regions_and_no_more_until_they_are_cleared(void **state)
{
	fake_init(&g, A_CONFIG());
	for (uint64_t i = 0; i < APF_ARM64_REGIONS; i++)
		ask(&g, OP(REGION), i << 40, 16);
	assert_int_equal(result_of(OP(REGION), 5ull << 40, 16), ERR(NOT_SUPPORTED));
	ask(&g, OP(REGION) | APF_ARM64_REGION_CLEAR, 0, 0);
	assert_int_equal(result_of(A_ON | APF_ARM64_SEND_ALWAYS, 0, 0), ERR(NOT_SUPPORTED));
	ask(&g, OP(REGION), 5ull << 40, 16);
}

static void test_A4_token_is_16_bits_of_counter_over_16_of_id(void **state)
{
	static const uint32_t ids[] = { 0, 1, 4096, 65535 };
	struct apf_vcpu_config cfg = A_CONFIG(.vcpu_id = 65536);
	struct apf_engine_ops none = { 0 };
	struct apf_vcpu *v;

	assert_int_equal(apf_vcpu_init(g.mem, sizeof(g.mem), &cfg, &none, NULL, &v), -EINVAL);
	assert_non_null(strstr(apf_error(), "65536"));
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		fake_arm_on(&g, A_CONFIG(.vcpu_id = ids[i]), A_ON);
		assert_int_equal(inject(&g, 7), 1u << 16 | ids[i]);
		assert_int_equal(inject(&g, 8), 2u << 16 | ids[i]);
	}
}

/* A page comes and its ready is taken at once. */
static uint32_t fault_and_ready(uint64_t gfn)
{
	uint32_t token = inject(&g, gfn);

	assert_int_equal(apf_vcpu_page_done(g.v, gfn), APF_OUT_KICK);
	enter(&g);
	assert_int_equal(handle(&g), token);
	return token;
}

static void test_A4_C8_the_counter_wraps_and_no_token_is_0_or_all_ones_or_alive(void **state)
{
	uint8_t bytes[256];

	for (uint32_t id = 0; id <= 65535; id += 65535) {
		fake_arm_on(&g, A_CONFIG(.vcpu_id = id), A_ON);
		uint32_t alive = inject(&g, 1), last = 0;

		assert_int_equal(alive, 1u << 16 | id);
		for (uint32_t i = 2; i <= (id ? 0xfffeu : 0xffffu); i++) {
			last = fault_and_ready(2);
			assert_int_equal(last, i << 16 | id);
		}
		/* Of id 65535 counter 65535 would be ~0; of id 0 counter 0 would be 0. */
		assert_int_equal(fault_and_ready(2), id ? id : 2u << 16);
		assert_int_equal(fault_and_ready(2), id ? 2u << 16 | id : 3u << 16);
		assert_int_equal(apf_vcpu_load(g.v, bytes, apf_vcpu_save(g.v, bytes, 256)), 0);
	}
}

static void test_A9_enabling_clears_the_words_forgets_all_and_sends_one_wake_all(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_arm_on(&g, A_CONFIG(), A_ON_INT);
		inject(&g, 1);
		inject(&g, 2);
		apf_vcpu_page_done(g.v, 1);
		g.reason = 1;
		fake_forget(&g);
		assert_int_equal(ask(&g, i ? A_ON : A_ON_INT | APF_ARM64_BUSY, 0, 0),
				 i ? APF_OUT_KICK : 0);
		assert_string_equal(g.log, i ? "n0L" : "n0LTR");
		assert_int_equal(stats(&g).outstanding, 0);
		assert_int_equal(stats(&g).queued, i);
		if (i) {
			assert_int_equal(enter(&g), 0);
			assert_int_equal(handle(&g), APF_TOKEN_BROADCAST);
		} else {
			assert_int_equal(g.token, APF_TOKEN_BROADCAST);
			assert_int_equal(arm_ack(&g), 0);
		}
		assert_int_equal(apf_vcpu_page_done(g.v, 2), 0);
		assert_int_equal(stats(&g).ready, 1);
	}
}

static void test_A9_enabling_with_the_area_out_of_reach_loses_nothing(void **state)
{
	fake_init(&g, A_CONFIG());
	g.reason = g.token = 9;
	g.memory.unreachable = true;
	assert_int_equal(ask(&g, A_ON_INT, 0, 0), APF_OUT_LATER);
	g.memory.unreachable = false;
	assert_int_equal(take(&g, user_fault(7)).verdict, APF_WAIT);
	assert_int_equal(apf_vcpu_poll(g.v), 0);
	assert_int_equal(g.token, 9);	/* the guest's to clear */
	assert_int_equal(arm_ack(&g), 0);
	assert_int_equal(g.token, APF_TOKEN_BROADCAST);
}

static void test_A9_C10_disabling_and_reset_drop_everything_and_lower_the_line(void **state)
{
	for (int i = 0; i < 2; i++) {
		fake_arm_on(&g, A_CONFIG(), A_ON_INT);
		for (uint64_t p = 1; p <= 3; p++)
			inject(&g, p);
		apf_vcpu_page_done(g.v, 1);
		apf_vcpu_page_done(g.v, 2);
		assert_true(g.line);
		fake_forget(&g);
		if (i)
			apf_vcpu_reset(g.v);
		else
			assert_int_equal(ask(&g, OP(ENABLE), 0, 0), 0);
		assert_null(broken_invariant(g.v));
		assert_false(g.line);
		assert_string_equal(g.log, "L");
		assert_false(apf_vcpu_enabled(g.v));
		assert_int_equal(stats(&g).outstanding + stats(&g).queued, 0);
		assert_int_equal(apf_vcpu_page_done(g.v, 3), 0);
		apf_vcpu_reset(g.v);
		assert_string_equal(g.log, "L");
		/* And the next life starts with a free word. */
		assert_int_equal(ask(&g, A_ON_INT, 0, 0), 0);
		assert_int_equal(g.token, APF_TOKEN_BROADCAST);
	}
}

static void test_C10_regions_survive_disabling_but_not_reset(void **state)
{
	fake_init(&g, A_CONFIG());
	ask(&g, OP(REGION), 0x1000, 0x10);
	ask(&g, A_ON, 0, 0);
	ask(&g, OP(ENABLE), 0, 0);
	ask(&g, A_ON | APF_ARM64_SEND_ALWAYS, 0, 0);
	apf_vcpu_reset(g.v);
	assert_int_equal(result_of(A_ON | APF_ARM64_SEND_ALWAYS, 0, 0), ERR(NOT_SUPPORTED));
}

static void test_A1_calls_are_arm64s_and_control_writes_are_x86s(void **state)
{
	static const enum apf_abi_id x86[] = { APF_ABI_X86_INT, APF_ABI_X86_2010, APF_ABI_X86_RFC };
	const uint64_t x[6] = { 0, OP(INFO) >> 32 };
	uint64_t r[4] = { 7, 7, 7, 7 }, value;
	unsigned int out;

	for (size_t i = 0; i < 3; i++) {
		fake_init(&g, CONFIG(.abi = x86[i]));
		out = ~0u;
		assert_int_equal(apf_vcpu_call(g.v, x, r, &out), -EINVAL);
		assert_int_equal(out, 0);
		assert_int_equal(r[0], 7);
	}
	fake_init(&g, A_CONFIG());
	out = ~0u;
	assert_int_equal(apf_vcpu_control_write(g.v, APF_MSR_EN, EN_ON, &out), -EINVAL);
	assert_int_equal(out, 0);
	assert_int_equal(apf_vcpu_control_read(g.v, APF_MSR_EN, &value), -EINVAL);
	assert_false(apf_vcpu_enabled(g.v));
}

static void test_A17_the_area_has_its_words_where_the_document_says(void **state)
{
	assert_int_equal(offsetof(struct apf_area_arm64, reason), 0);
	assert_int_equal(offsetof(struct apf_area_arm64, token), 4);
	assert_int_equal(offsetof(struct apf_area_arm64, busy), 8);
	assert_int_equal(offsetof(struct apf_area_arm64, enabled), 64);
	assert_int_equal(APF_ARM64_AREA_REASON, 0);
	assert_int_equal(APF_ARM64_AREA_TOKEN, 4);
	assert_int_equal(APF_ARM64_AREA_BUSY, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_A1_the_argument_is_two_halves_low_in_x1_high_in_x2),
		cmocka_unit_test(test_A13_an_upper_half_that_is_not_0_is_refused_in_every_register),
		cmocka_unit_test(test_A2_A3_A10_A13_results),
		cmocka_unit_test(test_A3_a_refused_area_leaves_the_old_one_enabled),
		cmocka_unit_test(test_A1_A16_info_says_what_is_offered),
		cmocka_unit_test(test_A16_ready_irq_must_be_a_ppi),
		cmocka_unit_test(test_A10_four_regions_and_no_more_until_they_are_cleared),
		cmocka_unit_test(test_A4_token_is_16_bits_of_counter_over_16_of_id),
		cmocka_unit_test(test_A4_C8_the_counter_wraps_and_no_token_is_0_or_all_ones_or_alive),
		cmocka_unit_test(test_A9_enabling_clears_the_words_forgets_all_and_sends_one_wake_all),
		cmocka_unit_test(test_A9_enabling_with_the_area_out_of_reach_loses_nothing),
		cmocka_unit_test(test_A9_C10_disabling_and_reset_drop_everything_and_lower_the_line),
		cmocka_unit_test(test_C10_regions_survive_disabling_but_not_reset),
		cmocka_unit_test(test_A1_calls_are_arm64s_and_control_writes_are_x86s),
		cmocka_unit_test(test_A17_the_area_has_its_words_where_the_document_says),
	};

	return cmocka_run_group_tests_name("engine/arm64", tests, NULL, NULL);
}
